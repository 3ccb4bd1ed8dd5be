//! Groups of the consumer protocol over the log: durable before answered, back after a restart, changing their kind.
use super::*;
use crate::group::Leaving;
use crate::group::consumer::{HeartbeatReply, HeartbeatRequest, MemberEpoch};
use crate::group::coordinator::GroupType;

fn joining(id: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        member_id: id.to_owned(),
        epoch: MemberEpoch::Join,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: Some(1_000),
        topics: Some(vec!["t".to_owned()]),
        regex: None,
        assignor: None,
        owned: Some([].into()),
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
    }
}

/// A heartbeat of a member that owns what it was told last.
fn beating(reply: &HeartbeatReply) -> HeartbeatRequest {
    HeartbeatRequest {
        epoch: MemberEpoch::Current(reply.epoch),
        owned: Some(reply.assignment.clone().unwrap_or_default()),
        ..joining(&reply.member_id)
    }
}

fn leaving(id: &str) -> HeartbeatRequest {
    HeartbeatRequest { epoch: MemberEpoch::Leave, ..joining(id) }
}

fn kind_of(coordinator: &Coordinator) -> (GroupType, &'static str) {
    let group = coordinator.describe("g").unwrap().expect("there is such a group");
    (group.group_type, group.state)
}

#[tokio::test]
async fn a_member_goes_on_in_a_restarted_broker_and_its_commits_are_checked() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log).await;
    let joined = coordinator.consumer_heartbeat("g", joining("a")).await.unwrap();
    assert_eq!(joined.assignment.as_ref().unwrap().len(), 4);
    let commit = |epoch| {
        let committer = Committer { member_id: "a".to_owned(), instance_id: None, generation: Generation(epoch) };
        (committer, vec![(("t".to_owned(), 0), offset(7))])
    };
    let (committer, offsets) = commit(joined.epoch);
    assert_eq!(coordinator.commit("g", &committer, offsets).await.unwrap(), [Ok(())]);
    let (committer, offsets) = commit(9);
    assert_eq!(coordinator.commit("g", &committer, offsets).await, Err(GroupError::StaleMemberEpoch));
    let subscribed = coordinator.delete_offsets("g", &[("t".to_owned(), 0), ("u".to_owned(), 0)]).await.unwrap();
    assert_eq!(subscribed, [Err(GroupError::GroupSubscribedToTopic), Ok(())]);
    assert_eq!(coordinator.delete("g").await, Err(GroupError::NonEmptyGroup));

    let restarted = start(&log).await;
    assert_eq!(kind_of(&restarted), (GroupType::Consumer, "Stable"));
    let again = restarted.consumer_heartbeat("g", beating(&joined)).await.unwrap();
    assert_eq!((again.epoch, again.assignment.as_ref().map(|a| a.len())), (joined.epoch, Some(4)), "a full request");
    assert_eq!(restarted.committed("g", "t", 0).unwrap().unwrap().offset, Offset(7));
    restarted.consumer_heartbeat("g", leaving("a")).await.unwrap();
    restarted.delete("g").await.unwrap();
    assert!(start(&log).await.list().is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn nothing_is_answered_that_could_not_be_written_and_it_is_written_later() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log).await;
    let a = coordinator.consumer_heartbeat("g", joining("a")).await.unwrap();
    log.broken.store(true, Ordering::Relaxed);
    let failed = coordinator.consumer_heartbeat("g", joining("b")).await;
    assert_eq!(failed, Err(GroupError::CoordinatorNotAvailable));
    log.broken.store(false, Ordering::Relaxed);
    let b = coordinator.consumer_heartbeat("g", joining("b")).await.unwrap();
    assert_eq!(b.epoch, 2);
    let restarted = start(&log).await;
    let a = restarted.consumer_heartbeat("g", beating(&a)).await.unwrap();
    assert_eq!(a.assignment.unwrap().len(), 2, "the restarted broker knows of both members");
}

#[tokio::test]
async fn empty_groups_change_their_kind_and_keep_their_offsets() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log).await;
    coordinator.commit("g", &STANDALONE, vec![(("t".to_owned(), 1), offset(3))]).await.unwrap();
    assert_eq!(kind_of(&coordinator).0, GroupType::Classic);
    let bad = HeartbeatRequest { assignor: Some("none".to_owned()), ..joining("a") };
    assert!(matches!(
        coordinator.consumer_heartbeat("g", bad.clone()).await,
        Err(GroupError::UnsupportedAssignor { .. })
    ));
    assert!(coordinator.consumer_heartbeat("new", bad).await.is_err());
    assert_eq!(coordinator.describe("new").unwrap(), None, "a failed join makes no group");
    coordinator.consumer_heartbeat("g", joining("a")).await.unwrap();
    coordinator.consumer_heartbeat("g", leaving("a")).await.unwrap();
    assert_eq!(kind_of(&coordinator), (GroupType::Consumer, "Empty"));
    let joined = coordinator.join("g", request("")).await.unwrap();
    assert_eq!((kind_of(&coordinator).0, joined.leader), (GroupType::Classic, joined.member_id.clone()));
    assert_eq!(coordinator.committed("g", "t", 1).unwrap().unwrap().offset, Offset(3));
    let left = coordinator.leave("g", &[Leaving { member_id: joined.member_id, instance_id: None }]).await.unwrap();
    assert_eq!(left, [Ok(())]);
    let restarted = start(&log).await;
    assert_eq!(kind_of(&restarted), (GroupType::Classic, "Empty"));
    assert_eq!(restarted.committed("g", "t", 1).unwrap().unwrap().offset, Offset(3));
}

#[tokio::test]
async fn a_group_with_members_goes_up_with_its_first_newer_member_and_down_with_the_last() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log).await;
    let old = coordinator.join("g", request("")).await.unwrap();
    sync(&coordinator, &old, vec![(old.member_id.clone(), Bytes::new())]).await.unwrap();
    let new = coordinator.consumer_heartbeat("g", joining("a")).await.unwrap();
    assert_eq!(kind_of(&coordinator).0, GroupType::Consumer);
    let heartbeat = |generation| coordinator.heartbeat("g", &old.member_id, None, generation);
    assert_eq!(heartbeat(old.generation), Err(GroupError::RebalanceInProgress), "it is asked to join again");
    let again = coordinator.join("g", request(&old.member_id)).await.unwrap();
    assert_eq!((again.generation.0, again.leader.as_str()), (new.epoch, ""));
    assert_eq!(start(&log).await.describe("g").unwrap().unwrap().group_type, GroupType::Consumer);
    coordinator.consumer_heartbeat("g", leaving("a")).await.unwrap();
    assert_eq!(kind_of(&coordinator), (GroupType::Classic, "PreparingRebalance"));
    let back = coordinator.join("g", request(&old.member_id)).await.unwrap();
    assert_eq!(back.leader, old.member_id, "a classic group with a leader of its own");
    sync(&coordinator, &back, vec![(old.member_id.clone(), Bytes::new())]).await.unwrap();
    let restarted = start(&log).await;
    assert_eq!(kind_of(&restarted), (GroupType::Classic, "Stable"));
}
