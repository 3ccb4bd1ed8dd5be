//! What grants are bound to, and what they are beside other entries.
use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::api::testing::{self, TestBroker};
use crate::security::Principal;
use crate::security::acl::tests::binding;
use crate::security::acl::{AclIndex, Decision, Policy};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const DDL: &str = "id BIGINT NOT NULL, country STRING, amount BIGINT";

async fn orders() -> (TestBroker, Arc<Topic>) {
    let broker = testing::broker().await;
    let topic = broker.topic("orders", 1, &[("weir.table.schema", DDL)]).await;
    (broker, topic)
}

fn wanted(columns: Option<&[&str]>, filter: Option<&str>) -> AclRestriction {
    let columns = columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    AclRestriction { columns, filter: filter.map(str::to_owned), problem: None }
}

fn grant(topic: &Topic, principal: &str, wanted: &AclRestriction) -> Result<Grant, GrantError> {
    Grant::bind(&binding(&topic.name, principal, "read", "allow"), Some(topic), wanted)
}

fn decide(index: &AclIndex, user: &str, operation: Operation) -> Decision {
    index.authorize(&Principal::user(user), HERE, operation, ResourceType::Topic, "orders")
}

#[tokio::test]
async fn grants_bind_columns_and_filters_to_field_ids_and_read_back_from_json() {
    let (_broker, topic) = orders().await;
    let made = grant(&topic, "User:a", &wanted(Some(&["id", "_key"]), Some(" country = 'DE' "))).unwrap();
    let text = serde_json::to_value(&made).unwrap();
    assert_eq!(text["version"], 1);
    assert_eq!(text["columns"], serde_json::json!([{"name": "_key"}, {"name": "id", "id": 1}]));
    assert_eq!(text["rows"], serde_json::json!({"text": "country = 'DE'", "columns": {"country": 2}}));
    assert_eq!(Grant::parse(text.to_string().as_bytes()).unwrap(), made);
    let restriction = made.restriction(&topic);
    let parts = RecordParts { key: true, ..NO_PARTS };
    assert_eq!(restriction.columns, Some(Readable { fields: [FieldId(1)].into(), parts }));
    assert_eq!(made.problem(Some(&topic)), None);
    let mut newer = text;
    newer["version"] = 2.into();
    assert!(Grant::parse(newer.to_string().as_bytes()).unwrap_err().contains("version 2"));
}

#[tokio::test]
async fn topic_that_was_made_again_is_another_one_and_all_of_it_is_hidden() {
    let (broker, topic) = orders().await;
    let made = grant(&topic, "User:a", &wanted(Some(&["id"]), None)).unwrap();
    broker.topics.delete(&topic).await.unwrap();
    assert!(made.problem(None).unwrap().contains("does not exist"));
    let again = broker.topic("orders", 1, &[("weir.table.schema", DDL)]).await;
    let restriction = made.restriction(&again);
    assert!(matches!(restriction.rows, Some(RowRule::Nothing(_))));
    assert!(restriction.columns.unwrap().fields.is_empty());
    assert!(made.problem(Some(&again)).unwrap().contains("deleted"));
}

#[tokio::test]
async fn unrestricted_read_and_denials_come_before_grants() {
    let (_broker, topic) = orders().await;
    let one = Arc::new(grant(&topic, "User:a", &wanted(Some(&["id"]), None)).unwrap());
    let everybody = Arc::new(grant(&topic, "User:*", &wanted(None, Some("amount > 3"))).unwrap());
    let policy = || Policy { allow_if_no_acl: true, ..Policy::default() };
    let index = AclIndex::with_grants(policy(), [], [one.clone(), everybody.clone()]);
    for user in ["a", "b"] {
        assert_eq!(decide(&index, user, Operation::Read), Decision::Restricted, "{user}");
        assert!(!decide(&index, user, Operation::Read).is_allowed());
        assert_eq!(decide(&index, user, Operation::Describe), Decision::Allowed, "{user}");
        // The topic is mentioned, so what is not given is not allowed.
        assert_eq!(decide(&index, user, Operation::Write), Decision::Denied, "{user}");
    }
    assert_eq!(index.grant(&Principal::user("a"), "orders"), Some(&one));
    assert_eq!(index.grant(&Principal::user("b"), "orders"), Some(&everybody));
    let index = AclIndex::with_grants(policy(), [], [one.clone()]);
    assert_eq!(decide(&index, "b", Operation::Read), Decision::Denied);
    for (permission, expected) in [("allow", Decision::Allowed), ("deny", Decision::Denied)] {
        let entry = binding("orders", "User:a", "read", permission);
        let index = AclIndex::with_grants(policy(), [entry], [one.clone()]);
        assert_eq!(decide(&index, "a", Operation::Read), expected);
    }
    let unreadable = Arc::new(Grant::unreadable("User:a", "orders", "damaged".to_owned()));
    let index = AclIndex::with_grants(policy(), [], [unreadable.clone()]);
    assert_eq!(decide(&index, "a", Operation::Read), Decision::Restricted);
    assert!(unreadable.problem(Some(&topic)).unwrap().contains("damaged"));
}

#[tokio::test]
async fn entries_that_cannot_be_restricted_are_refused() {
    let (_broker, topic) = orders().await;
    let part = wanted(Some(&["id"]), None);
    let mut cases = Vec::new();
    for (name, operation, permission) in
        [("*", "read", "allow"), ("orders", "write", "allow"), ("orders", "all", "allow"), ("orders", "read", "deny")]
    {
        cases.push(binding(name, "User:a", operation, permission));
    }
    let mut prefixed = binding("ord", "User:a", "read", "allow");
    prefixed.pattern.pattern = PatternType::Prefixed;
    let mut hosted = binding("orders", "User:a", "read", "allow");
    hosted.entry.host = "10.0.0.1".to_owned();
    let mut group = binding("orders", "User:a", "read", "allow");
    group.pattern.resource = ResourceType::Group;
    cases.extend([prefixed, hosted, group]);
    for case in cases {
        let refused = Grant::bind(&case, Some(&topic), &part);
        assert!(matches!(refused, Err(GrantError::Shape { .. })), "{case}: {refused:?}");
    }
    assert_eq!(grant(&topic, "User:a", &wanted(None, None)), Err(GrantError::Nothing));
    let many = AclRestriction { columns: Some(vec!["id".to_owned(); COLUMNS_MAX + 1]), ..AclRestriction::default() };
    assert!(matches!(grant(&topic, "User:a", &many), Err(GrantError::TooManyColumns { .. })));
}
