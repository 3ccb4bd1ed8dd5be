//! DescribeClientQuotas (key 48): quotas of users, client ids and addresses.
//!
//! Versions 0-1. KIP-546. Errors: INVALID_REQUEST (a filter of something else than users, client ids and addresses).
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::describe_client_quotas_request::DescribeClientQuotasRequest;
use kafka_protocol::messages::describe_client_quotas_response::{
    DescribeClientQuotasResponse, EntityData, EntryData, ValueData,
};

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::quota::{Entity, Match, QuotaError, QuotaFilter, Quotas};

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeClientQuotas, 0, 1);

/// Lists what is set for the entities that the filter means.
pub fn handle(broker: &Broker, request: &DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    let response = DescribeClientQuotasResponse::default().with_error_message(None);
    match filter(request) {
        Ok(filter) => {
            let table = broker.quotas.table();
            let meant = table.iter().filter(|(entity, _)| filter.matches(entity));
            response.with_entries(Some(meant.map(|(entity, quotas)| entry(entity, quotas)).collect()))
        }
        Err(error) => response
            .with_error_code(error.wire_code())
            .with_error_message(Some(wire(error.to_string())))
            .with_entries(None),
    }
}

fn filter(request: &DescribeClientQuotasRequest) -> Result<QuotaFilter, QuotaError> {
    let mut filter = QuotaFilter { strict: request.strict, ..QuotaFilter::default() };
    for component in &request.components {
        let wanted = Match::of_wire(component.match_type, component._match.as_deref())?;
        let field = match component.entity_type.as_str() {
            "user" => &mut filter.user,
            "client-id" => &mut filter.client_id,
            "ip" => &mut filter.ip,
            kind => return Err(QuotaError::EntityType { kind: kind.chars().take(200).collect() }),
        };
        if field.replace(wanted).is_some() {
            return Err(QuotaError::Twice { kind: component.entity_type.to_string() });
        }
    }
    Ok(filter)
}

fn entry(entity: &Entity, quotas: &Quotas) -> EntryData {
    let parts = entity
        .parts()
        .map(|(kind, name)| EntityData::default().with_entity_type(wire(kind)).with_entity_name(name.map(wire)));
    let values = quotas.iter().map(|(key, value)| ValueData::default().with_key(wire(key.name())).with_value(*value));
    EntryData::default().with_entity(parts.collect()).with_values(values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::describe_client_quotas_request::ComponentData;

    fn component(kind: &'static str, match_type: i8) -> ComponentData {
        ComponentData::default().with_entity_type(wire(kind)).with_match_type(match_type).with_match(Some(wire("a")))
    }

    #[test]
    fn filters_are_read_and_what_is_not_one_is_refused() {
        let ask = |components: Vec<ComponentData>| {
            filter(&DescribeClientQuotasRequest::default().with_components(components).with_strict(true))
        };
        let wanted = ask(vec![component("user", 2), component("client-id", 0)]).unwrap();
        assert!(wanted.strict && wanted.user == Some(Match::Any));
        assert!(matches!(ask(vec![component("host", 0)]), Err(QuotaError::EntityType { .. })));
        assert!(matches!(ask(vec![component("user", 0), component("user", 1)]), Err(QuotaError::Twice { .. })));
        assert!(matches!(ask(vec![component("user", 9)]), Err(QuotaError::MatchType { .. })));
    }
}
