//! Members of classic groups: join, sync, heartbeat, commit, leave.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

use super::groups::{commit, coordinator_ready, join_alone, text};
use crate::differential::context::Ctx;
use crate::differential::wire::{Outcome, Wire};

/// A join with two protocols. Rebalance timeout and instance id only where the version has them.
fn join(version: i16, group: &GroupId, member: &StrBytes) -> JoinGroupRequest {
    let protocols = [("range", &[0u8, 1][..]), ("roundrobin", &[0, 2][..])]
        .into_iter()
        .map(|(name, metadata)| {
            JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(Bytes::from_static(metadata))
        })
        .collect();
    let request = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_session_timeout_ms(20_000)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols);
    if version >= 1 { request.with_rebalance_timeout_ms(20_000) } else { request }
}

fn sync(version: i16, group: &GroupId, generation: i32, member: &StrBytes, assigned: &[&StrBytes]) -> SyncGroupRequest {
    let assignments = assigned
        .iter()
        .enumerate()
        .map(|(i, &id)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(Bytes::from(vec![9, i as u8]))
        })
        .collect();
    let request = SyncGroupRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(generation)
        .with_member_id(member.clone())
        .with_assignments(assignments);
    if version >= 5 {
        request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
    } else {
        request
    }
}

fn heartbeat(group: &GroupId, generation: i32, member: &StrBytes) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group.clone())
        .with_generation_id(generation)
        .with_member_id(member.clone())
}

fn leave(version: i16, group: &GroupId, members: &[&StrBytes]) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group.clone());
    if version >= 3 {
        let members = members.iter().map(|&id| MemberIdentity::default().with_member_id(id.clone())).collect();
        request.with_members(members)
    } else {
        request.with_member_id(members.first().map(|&id| id.clone()).unwrap_or_default())
    }
}

pub async fn join_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let group = ctx.group("group");
    coordinator_ready(ctx, &group).await?;
    let nobody = StrBytes::default();
    for version in [2, 3, 4, 5, 6, 7, 8, 9] {
        ctx.call("empty group id", version, &join(version, &GroupId::default(), &nobody)).await?;
        ctx.call("unknown member", version, &join(version, &group, &text("no-such-member"))).await?;
        ctx.call("session timeout too short", version, &join(version, &group, &nobody).with_session_timeout_ms(10))
            .await?;
        ctx.call(
            "session timeout too long",
            version,
            &join(version, &group, &nobody).with_session_timeout_ms(10_000_000),
        )
        .await?;
        ctx.call("no protocols", version, &join(version, &group, &nobody).with_protocols(Vec::new())).await?;
        ctx.call("empty protocol type", version, &join(version, &group, &nobody).with_protocol_type(text(""))).await?;
        if version >= 4 {
            ctx.call("no member id yet", version, &join(version, &group, &nobody)).await?;
        }
    }
    Ok(())
}

/// From the first join to the last leave of a group's only member, in every version of each request.
pub async fn member_life(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    for version in 2..=9 {
        let group = ctx.group(&format!("v{version}"));
        coordinator_ready(ctx, &group).await?;
        let mut member = StrBytes::default();
        if version >= 4 {
            member = ctx.call("a member id is given", version, &join(version, &group, &member)).await?.member_id;
        }
        let joined = ctx.call("joined", version, &join(version, &group, &member)).await?;
        let (member, generation) = (joined.member_id.clone(), joined.generation_id);
        let (sync_version, heartbeat_version, leave_version) = (version.min(5), version.min(4), version.min(5));
        ctx.call("heartbeat before the sync", heartbeat_version, &heartbeat(&group, generation, &member)).await?;
        ctx.call(
            "commit before the sync",
            version,
            &commit(version, &group, Some((&member, generation)), &topic, 0, 1),
        )
        .await?;
        let synced = sync(sync_version, &group, generation, &member, &[&member]);
        ctx.call("synced", sync_version, &synced).await?;
        ctx.call("synced again", sync_version, &sync(sync_version, &group, generation, &member, &[])).await?;
        ctx.call("heartbeat", heartbeat_version, &heartbeat(&group, generation, &member)).await?;
        ctx.call("commit", version, &commit(version, &group, Some((&member, generation)), &topic, 0, 2)).await?;
        let again = ctx.call("joined again", version, &join(version, &group, &member)).await?;
        ctx.call("the old generation", heartbeat_version, &heartbeat(&group, generation, &member)).await?;
        ctx.call(
            "synced once more",
            sync_version,
            &sync(sync_version, &group, again.generation_id, &member, &[&member]),
        )
        .await?;
        ctx.call("left", leave_version, &leave(leave_version, &group, &[&member])).await?;
        ctx.call("left again", leave_version, &leave(leave_version, &group, &[&member])).await?;
        ctx.call("heartbeat after it left", heartbeat_version, &heartbeat(&group, again.generation_id, &member))
            .await?;
        ctx.call("commit after it left", version, &commit(version, &group, Some((&member, generation)), &topic, 0, 3))
            .await?;
    }
    for version in 0..=2 {
        let group = ctx.group(&format!("leave-v{version}"));
        let member = join_alone(ctx, &group).await?;
        ctx.call("leave", version, &leave(version, &group, &[&member])).await?;
    }
    for version in 0..=1 {
        let group = ctx.group(&format!("heartbeat-v{version}"));
        let member = join_alone(ctx, &group).await?;
        ctx.call("heartbeat", version, &heartbeat(&group, 1, &member)).await?;
        ctx.call("sync", version, &sync(version, &group, 1, &member, &[])).await?;
        ctx.quiet(1, &leave(1, &group, &[&member])).await?;
    }
    Ok(())
}

pub async fn member_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    let (group, unknown, nobody) = (ctx.group("group"), ctx.group("unknown"), GroupId::default());
    let member = join_alone(ctx, &group).await?;
    let stranger = text("no-such-member");
    for version in 0..=4 {
        ctx.call("unknown group", version, &heartbeat(&unknown, 1, &stranger)).await?;
        ctx.call("empty group id", version, &heartbeat(&nobody, 1, &stranger)).await?;
        ctx.call("unknown member", version, &heartbeat(&group, 1, &stranger)).await?;
        ctx.call("a generation of the future", version, &heartbeat(&group, 9, &member)).await?;
        ctx.call("generation 0", version, &heartbeat(&group, 0, &member)).await?;
    }
    for version in 0..=5 {
        ctx.call("unknown group", version, &sync(version, &unknown, 1, &stranger, &[])).await?;
        ctx.call("empty group id", version, &sync(version, &nobody, 1, &stranger, &[])).await?;
        ctx.call("unknown member", version, &sync(version, &group, 1, &stranger, &[])).await?;
        ctx.call("a generation of the future", version, &sync(version, &group, 9, &member, &[])).await?;
        if version >= 5 {
            let wrong = sync(version, &group, 1, &member, &[]).with_protocol_type(Some(text("connect")));
            ctx.call("another protocol type", version, &wrong).await?;
            let wrong = sync(version, &group, 1, &member, &[]).with_protocol_name(Some(text("sticky")));
            ctx.call("another protocol", version, &wrong).await?;
            let none = sync(version, &group, 1, &member, &[]).with_protocol_type(None).with_protocol_name(None);
            ctx.call("no protocol told", version, &none).await?;
        }
        ctx.call("unknown group", version, &leave(version, &unknown, &[&stranger])).await?;
        ctx.call("empty group id", version, &leave(version, &nobody, &[&stranger])).await?;
        ctx.call("unknown member", version, &leave(version, &group, &[&stranger])).await?;
        if version >= 3 {
            ctx.call("nobody", version, &leave(version, &group, &[])).await?;
        }
    }
    for version in [2, 5, 9] {
        ctx.call("a generation of the future", version, &commit(version, &group, Some((&member, 9)), &topic, 0, 1))
            .await?;
        ctx.call("unknown member", version, &commit(version, &group, Some((&stranger, 1)), &topic, 0, 1)).await?;
        ctx.call("standalone, into a group with members", version, &commit(version, &group, None, &topic, 0, 1))
            .await?;
        ctx.call("right", version, &commit(version, &group, Some((&member, 1)), &topic, 0, 1)).await?;
        let other_type = join(version, &group, &StrBytes::default()).with_protocol_type(text("connect"));
        ctx.call("a join with another protocol type", version, &other_type).await?;
        let mut other_protocol = join(version, &group, &StrBytes::default());
        other_protocol.protocols.truncate(1);
        other_protocol.protocols[0].name = text("sticky");
        ctx.call("a join with no common protocol", version, &other_protocol).await?;
    }
    let two = leave(5, &group, &[&stranger, &member]);
    ctx.call("an unknown member and a known one", 5, &two).await?;
    Ok(())
}

async fn answer(wire: &mut Wire, version: i16, request: &JoinGroupRequest) -> anyhow::Result<JoinGroupResponse> {
    match wire.call(version, request).await? {
        Outcome::Answer(answer) => Ok(answer),
        Outcome::Closed => anyhow::bail!("closed while joining"),
    }
}

/// A second member comes, both sync, the second one leaves: what each of them is told at every point.
pub async fn two_members(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    for version in [3, 5, 9] {
        let group = ctx.group(&format!("v{version}"));
        coordinator_ready(ctx, &group).await?;
        let first = join_alone(ctx, &group).await?;
        ctx.record(format!("the first member v{version}"), serde_json::json!({"member_id": first.as_str()}));
        let mut other = ctx.connect().await?;
        let mut second = StrBytes::default();
        if version >= 4 {
            second = answer(&mut other, version, &join(version, &group, &second)).await?.member_id;
        }
        // The second join waits for the first member to come back.
        let correlation = other.send(version, &join(version, &group, &second)).await?;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        ctx.call("heartbeat while a member joins", 3, &heartbeat(&group, 1, &first)).await?;
        ctx.call("commit while a member joins", version, &commit(version, &group, Some((&first, 1)), &topic, 0, 4))
            .await?;
        ctx.call("sync while a member joins", 3, &sync(3, &group, 1, &first, &[])).await?;
        let leader = ctx.quiet(version, &join(version, &group, &first)).await?;
        let Outcome::Answer(follower) = other.receive::<JoinGroupRequest>(version, correlation).await? else {
            anyhow::bail!("closed while joining");
        };
        // The follower's answer comes first, because it names only its own id.
        ctx.record_answer::<JoinGroupRequest>("the second member", version, &follower)?;
        ctx.record_answer::<JoinGroupRequest>("the leader joined again", version, &leader)?;
        let generation = leader.generation_id;

        let sync_version = version.min(5);
        let second = follower.member_id.clone();
        let waiting = other.send(sync_version, &sync(sync_version, &group, generation, &second, &[])).await?;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let assigns = sync(sync_version, &group, generation, &first, &[&first, &second]);
        ctx.call("the leader assigns", sync_version, &assigns).await?;
        if let Outcome::Answer(synced) = other.receive::<SyncGroupRequest>(sync_version, waiting).await? {
            ctx.record_answer::<SyncGroupRequest>("the second member is assigned", sync_version, &synced)?;
        }
        ctx.call("heartbeat of the first", 3, &heartbeat(&group, generation, &first)).await?;
        ctx.call("heartbeat of the second", 3, &heartbeat(&group, generation, &second)).await?;
        ctx.call("a follower with the same metadata joins again", version, &join(version, &group, &second)).await?;
        ctx.call("which disturbs nobody", 3, &heartbeat(&group, generation, &first)).await?;
        let leave_version = version.min(5);
        ctx.call("the second leaves", leave_version, &leave(leave_version, &group, &[&second])).await?;
        ctx.call("the first is told to join again", 3, &heartbeat(&group, generation, &first)).await?;
        let alone = ctx.call("and is alone", version, &join(version, &group, &first)).await?;
        ctx.call("synced", sync_version, &sync(sync_version, &group, alone.generation_id, &first, &[&first])).await?;
        ctx.quiet(3, &leave(3, &group, &[&first])).await?;
    }
    Ok(())
}

pub async fn static_members(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 1, &[]).await?;
    let topic = ctx.topic("topic");
    let one = || Some(text("one"));
    for version in [5, 7, 9] {
        let group = ctx.group(&format!("v{version}"));
        coordinator_ready(ctx, &group).await?;
        let nobody = StrBytes::default();
        let joined = ctx.call("joined", version, &join(version, &group, &nobody).with_group_instance_id(one())).await?;
        let (old, generation) = (joined.member_id, joined.generation_id);
        let sync_version = version.min(5);
        let synced = sync(sync_version, &group, generation, &old, &[&old]).with_group_instance_id(one());
        ctx.call("synced", sync_version, &synced).await?;
        ctx.call("heartbeat", 3, &heartbeat(&group, generation, &old).with_group_instance_id(one())).await?;
        let back =
            ctx.call("restarted", version, &join(version, &group, &nobody).with_group_instance_id(one())).await?;
        let new = back.member_id;
        let synced = sync(sync_version, &group, back.generation_id, &new, &[]).with_group_instance_id(one());
        ctx.call("synced after the restart", sync_version, &synced).await?;
        ctx.call("the old member's heartbeat", 3, &heartbeat(&group, generation, &old).with_group_instance_id(one()))
            .await?;
        ctx.call("the old member's heartbeat without its instance id", 3, &heartbeat(&group, generation, &old)).await?;
        let fenced =
            commit(version.max(7), &group, Some((&old, generation)), &topic, 0, 1).with_group_instance_id(one());
        ctx.call("the old member's commit", version.max(7), &fenced).await?;
        let fenced = sync(sync_version, &group, generation, &old, &[]).with_group_instance_id(one());
        ctx.call("the old member's sync", sync_version, &fenced).await?;
        ctx.call("the old member's join", version, &join(version, &group, &old).with_group_instance_id(one())).await?;
        let wrong = Some(text("two"));
        ctx.call("another instance id", 3, &heartbeat(&group, back.generation_id, &new).with_group_instance_id(wrong))
            .await?;
        ctx.call(
            "the new member's heartbeat",
            3,
            &heartbeat(&group, back.generation_id, &new).with_group_instance_id(one()),
        )
        .await?;
        let by_instance = |id: &StrBytes, instance: &'static str| {
            let member =
                MemberIdentity::default().with_member_id(id.clone()).with_group_instance_id(Some(text(instance)));
            LeaveGroupRequest::default().with_group_id(group.clone()).with_members(vec![member])
        };
        ctx.call("the old member leaves", 4, &by_instance(&old, "one")).await?;
        ctx.call("an unknown instance leaves", 4, &by_instance(&nobody, "three")).await?;
        ctx.call("removed by its instance id", 4, &by_instance(&nobody, "one")).await?;
        ctx.call(
            "heartbeat after its removal",
            3,
            &heartbeat(&group, back.generation_id, &new).with_group_instance_id(one()),
        )
        .await?;
    }
    Ok(())
}
