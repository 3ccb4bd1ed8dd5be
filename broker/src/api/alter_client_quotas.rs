//! AlterClientQuotas (key 49): sets and removes quotas of users, client ids and addresses.
//!
//! Versions 0-1. KIP-546. Quotas of one entity change together. Errors per entity: INVALID_REQUEST (a quota that is not enforced
//! here, a value that is no rate, something else than users, client ids and addresses), POLICY_VIOLATION (too many), KAFKA_STORAGE_ERROR.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntryData as WantedEntry, OpData,
};
use kafka_protocol::messages::alter_client_quotas_response::{AlterClientQuotasResponse, EntityData, EntryData};

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::quota::{Entity, QuotaError, QuotaKey};

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterClientQuotas, 0, 1);

/// Answers entity by entity, in order, when the change holds.
pub async fn handle(broker: &Broker, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let mut entries = Vec::with_capacity(request.entries.len());
    for wanted in request.entries {
        let result = alter(broker, &wanted, request.validate_only).await;
        let entity = wanted
            .entity
            .into_iter()
            .map(|part| EntityData::default().with_entity_type(part.entity_type).with_entity_name(part.entity_name));
        let entry = EntryData::default().with_entity(entity.collect());
        entries.push(match result {
            Ok(()) => entry.with_error_message(None),
            Err(error) => entry.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        });
    }
    AlterClientQuotasResponse::default().with_entries(entries)
}

async fn alter(broker: &Broker, wanted: &WantedEntry, validate_only: bool) -> Result<(), QuotaError> {
    let parts = wanted.entity.iter().map(|part| (part.entity_type.as_str(), part.entity_name.as_deref()));
    let entity = Entity::of(parts)?;
    let changes: Result<Vec<_>, QuotaError> = wanted.ops.iter().map(change).collect();
    let changes = changes?;
    broker.quotas.alter(&entity, &changes, validate_only).await?;
    if !validate_only {
        tracing::info!(?entity, ?changes, "client quotas changed");
    }
    Ok(())
}

fn change(op: &OpData) -> Result<(QuotaKey, Option<f64>), QuotaError> {
    Ok((QuotaKey::named(&op.key)?, (!op.remove).then_some(op.value)))
}
