//! From (api key, version) to a handler: one exhaustive match.
//!
//! Who may ask for what is decided here too, before a handler runs: a request without a rule in [`rules`] does not compile.
//! A frame goes through the bounds guard before the protocol crate decodes it; what does not pass closes the connection.
//! Produce requests are queued in [`accept`], in the order they arrive; everything else runs in [`answer`], one request of
//! a connection after the other. A panic in here ends the task of one connection and nothing else.
mod errors;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_response::TopicProduceResponse;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use thiserror::Error;
use weir_protocol::frame::{FrameError, RequestHeader, response_header_version};
use weir_protocol::guard::{self, GuardError, GuardLimits};
use weir_protocol::produce::split_produce;

use crate::api;
use weir_storage::memory::Reservation;

use crate::broker::{Broker, Connection, RequestContext};
use crate::quota::{QuotaKey, Stopwatch, Throttle, timed};
use crate::security::audit::AuditEvent;
use crate::security::rules::{self, Access, Guarded, Verdict};
use crate::security::sasl::session::NotAdmitted;
use crate::security::sasl::{Authenticator, Reply};
use errors::ErrorCodes;

/// A request that was taken in.
pub struct Accepted {
    header: RequestHeader,
    api: ApiKey,
    received: Instant,
    /// Who asked, and from where, when the request was read.
    context: RequestContext,
    work: Work,
    /// Of the frame; a produce request's goes with its batches.
    memory: Option<Reservation>,
}

enum Work {
    /// Queued already; what is left is to wait for its outcome. With the topics that its client may
    /// not write to, and how long it is throttled.
    Produce(Box<api::produce::Submitted>, Vec<TopicProduceResponse>, Throttle),
    Plain(Bytes),
    /// ApiVersions of a version that is not served: answered in version 0 with the versions that are.
    UnsupportedApiVersions,
    /// Done in `accept` already: requests of authentication, whose outcome decides about the next one.
    Ready(Answer),
}

/// What becomes of an accepted request.
#[derive(Debug)]
pub enum Answer {
    /// The response frame in parts, to be written one after the other, and the memory to hold until then.
    Send(Vec<Bytes>, Vec<Reservation>),
    /// Nothing is sent (acks=0).
    Silent,
    /// The connection closes: an acks=0 request failed, which its client can notice in no other way.
    Close,
}

/// A request that ends its connection: nothing sensible can be answered.
#[derive(Debug, Error)]
pub enum Refused {
    /// The bytes do not begin with a request header.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An API we know in a version we do not.
    #[error("{api} version {version} is not served (versions {min} to {max} are)")]
    UnsupportedVersion {
        /// Kafka's name of the API.
        api: &'static str,
        /// What was asked.
        version: i16,
        /// First version served.
        min: i16,
        /// Last version served.
        max: i16,
    },
    /// An API that is not served, or none at all.
    #[error("API key {key} is not served")]
    NotServed {
        /// What was asked.
        key: i16,
    },
    /// Its client has to authenticate first, or again.
    #[error("{api} is refused: {0}", api = api_name(*.1))]
    NotAdmitted(NotAdmitted, i16),
    /// SASL failed where nothing can be answered: after a handshake of version 0.
    #[error("authentication failed")]
    NotAuthenticated,
    /// The body contradicts its shape.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The body cannot be decoded.
    #[error("malformed {api} request: {detail}")]
    Malformed {
        /// Kafka's name of the API.
        api: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Our own mistake: a response with a field that its version cannot carry.
    #[error("the response to {api} version {version} cannot be encoded: {detail}")]
    Response {
        /// Kafka's name of the API.
        api: &'static str,
        /// Version of the request.
        version: i16,
        /// What is wrong.
        detail: String,
    },
}

fn api_name(key: i16) -> &'static str {
    guard::api_name(key).unwrap_or("unknown")
}

/// Whether a request of this key and version is read at all; known after the first bytes of a frame.
pub fn check_served(key: i16, version: i16) -> Result<(), Refused> {
    let served = api::versions_of(key).ok_or(Refused::NotServed { key })?;
    if served.serves(version) || key == ApiKey::ApiVersions as i16 {
        return Ok(());
    }
    Err(Refused::UnsupportedVersion { api: api_name(key), version, min: served.min, max: served.max })
}

/// Parses a frame; queues its batches if it is a produce request.
pub async fn accept(
    broker: &Arc<Broker>,
    connection: &Connection,
    authenticator: &mut Authenticator,
    frame: BytesMut,
    memory: Reservation,
) -> Result<Accepted, Refused> {
    let watch = broker.quotas.limits(QuotaKey::RequestPercentage).then(Stopwatch::new);
    let taken = take(broker, connection, authenticator, frame, memory, watch.clone());
    match watch {
        Some(watch) => timed(watch, taken).await,
        None => taken.await,
    }
}

async fn take(
    broker: &Arc<Broker>,
    connection: &Connection,
    authenticator: &mut Authenticator,
    mut frame: BytesMut,
    memory: Reservation,
    watch: Option<Arc<Stopwatch>>,
) -> Result<Accepted, Refused> {
    let received = Instant::now();
    if authenticator.expects_raw() {
        return raw_token(broker, connection, authenticator, &frame, received).await;
    }
    let header = RequestHeader::parse(&frame)?;
    let (key, version) = (header.api_key, header.api_version);
    check_served(key, version)?;
    authenticator.admit(key, broker).map_err(|why| Refused::NotAdmitted(why, key))?;
    let api = ApiKey::try_from(key).map_err(|()| Refused::NotServed { key })?;
    tracing::trace!(connection = connection.id, ?api, version, bytes = frame.len(), "request");
    let context = connection.request(header.client_id.clone(), watch);
    let limits = GuardLimits::default();
    let mut memory = Some(memory);
    let work = match api {
        ApiKey::ApiVersions if authenticator.is_turned_away() => {
            tokio::time::sleep(broker.security.failed_delay).await;
            let version = if api::api_versions::VERSIONS.serves(version) { version } else { 0 };
            let response = api::api_versions::turned_away();
            Work::Ready(Answer::Send(respond(broker, &header, api, version, &response)?, Vec::new()))
        }
        ApiKey::ApiVersions if !api::api_versions::VERSIONS.serves(version) => Work::UnsupportedApiVersions,
        ApiKey::Produce => {
            // Its connection is silent from now on, not only from its answer on: more would be read meanwhile.
            let throttle = context.meter(broker, QuotaKey::ProducerByteRate, frame.len());
            let mut split = split_produce(frame, header.body_offset, version, &limits)
                .map_err(|e| Refused::Malformed { api: api_name(key), detail: e.to_string() })?;
            let access = Access::of(broker, &context, api, version);
            let refused = access.map(|access| rules::refuse_produce(&mut split, &access)).unwrap_or_default();
            let submitted = api::produce::submit(broker, version, split, memory.take()).await;
            Work::Produce(Box::new(submitted), refused, throttle)
        }
        _ => {
            let body = frame.split_off(header.body_offset);
            guard::check(key, version, &body, &limits)?;
            let body = body.freeze();
            match api {
                ApiKey::SaslHandshake => {
                    let response = api::sasl_handshake::handle(authenticator, version, &decode(body, &header)?);
                    Work::Ready(Answer::Send(respond(broker, &header, api, version, &response)?, Vec::new()))
                }
                ApiKey::SaslAuthenticate => {
                    let request = decode(body, &header)?;
                    let response = api::sasl_authenticate::handle(broker, authenticator, version, request).await;
                    Work::Ready(Answer::Send(respond(broker, &header, api, version, &response)?, Vec::new()))
                }
                _ => Work::Plain(body),
            }
        }
    };
    Ok(Accepted { header, api, received, context, work, memory })
}

/// A token without a request, after a handshake of version 0: what goes back is bare as well.
async fn raw_token(
    broker: &Broker,
    connection: &Connection,
    authenticator: &mut Authenticator,
    token: &[u8],
    received: Instant,
) -> Result<Accepted, Refused> {
    let reply = match authenticator.token(broker, token).await {
        Reply::Continue(reply) | Reply::Done(reply, _) => reply,
        Reply::Refused(_) => return Err(Refused::NotAuthenticated),
    };
    let mut out = BytesMut::with_capacity(4 + reply.len());
    out.put_i32(reply.len() as i32); // far below 2 GiB: of our making
    out.extend_from_slice(&reply);
    // Counted as what version 1 would have sent.
    let api_key = ApiKey::SaslAuthenticate as i16;
    let header = RequestHeader {
        api_key,
        api_version: 0,
        correlation_id: 0,
        client_id: None,
        header_version: 1,
        body_offset: 0,
    };
    let context = connection.request(None, None);
    let work = Work::Ready(Answer::Send(vec![out.freeze()], Vec::new()));
    Ok(Accepted { header, api: ApiKey::SaslAuthenticate, received, context, work, memory: None })
}

fn decode<R: Decodable>(mut body: Bytes, header: &RequestHeader) -> Result<R, Refused> {
    R::decode(&mut body, header.api_version)
        .map_err(|e| Refused::Malformed { api: api_name(header.api_key), detail: e.to_string() })
}

impl Accepted {
    /// The memory of the request's frame, if it is still held for it.
    pub fn take_memory(&mut self) -> Option<Reservation> {
        self.memory.take()
    }

    /// Whether the answer may take long on purpose, so that a stopping broker does not wait for it.
    #[must_use]
    pub fn waits_on_purpose(&self) -> bool {
        matches!(self.api, ApiKey::Fetch | ApiKey::ShareFetch | ApiKey::JoinGroup | ApiKey::SyncGroup)
    }
}

/// Does the work.
pub async fn answer(broker: &Arc<Broker>, accepted: Accepted) -> Result<Answer, Refused> {
    let watch = accepted.context.watch.clone();
    let done = work(broker, accepted);
    match watch {
        Some(watch) => timed(watch, done).await,
        None => done.await,
    }
}

async fn work(broker: &Arc<Broker>, accepted: Accepted) -> Result<Answer, Refused> {
    let Accepted { header, api, received, context, work, memory: _held } = accepted;
    let version = header.api_version;
    let answer = match work {
        Work::Produce(submitted, refused, throttle) => match submitted.finish().await {
            api::produce::Outcome::Respond(mut response) => {
                response.responses.extend(refused);
                response.throttle_time_ms = throttle.max(context.meter_time(broker)).wire();
                Answer::Send(respond(broker, &header, api, version, &response)?, Vec::new())
            }
            api::produce::Outcome::Silent { failed: false } if refused.is_empty() => Answer::Silent,
            api::produce::Outcome::Silent { .. } => Answer::Close,
        },
        Work::UnsupportedApiVersions => {
            Answer::Send(respond(broker, &header, api, 0, &api::api_versions::unsupported_version())?, Vec::new())
        }
        Work::Ready(answer) => answer,
        Work::Plain(body) => {
            let access = Access::of(broker, &context, api, version);
            let call = Call { broker, header: &header, api, context, access, audited: OnceLock::new() };
            call.handle(body).await?
        }
    };
    broker.metrics.request_done(api, received.elapsed());
    Ok(answer)
}

/// Encodes a response behind its length and header, in one buffer.
fn respond<R: Encodable + ErrorCodes>(
    broker: &Broker,
    header: &RequestHeader,
    api: ApiKey,
    version: i16,
    response: &R,
) -> Result<Vec<Bytes>, Refused> {
    response.each_error(&mut |code| broker.metrics.request_error(api, code));
    let mut out = BytesMut::with_capacity(256);
    out.put_i32(0);
    put_response_header(&mut out, header);
    response.encode(&mut out, version).map_err(|e| Refused::Response {
        api: api_name(header.api_key),
        version,
        detail: e.to_string(),
    })?;
    let length = (out.len() - 4) as i32; // far below 2 GiB: limited by what a request can ask for
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(vec![out.freeze()])
}

fn put_response_header(out: &mut BytesMut, header: &RequestHeader) {
    out.put_i32(header.correlation_id);
    if response_header_version(header.api_key, header.api_version) == Some(1) {
        out.put_u8(0); // no tagged fields
    }
}

/// Puts length and header in front of a body of parts, which are not copied.
fn frame_parts(header: &RequestHeader, body: Vec<Bytes>) -> Vec<Bytes> {
    let mut head = BytesMut::with_capacity(16);
    head.put_i32(0);
    put_response_header(&mut head, header);
    let length = head.len() - 4 + body.iter().map(Bytes::len).sum::<usize>();
    head[..4].copy_from_slice(&(length as i32).to_be_bytes());
    let mut parts = Vec::with_capacity(body.len() + 1);
    parts.push(head.freeze());
    parts.extend(body);
    parts
}

/// One request on its way through its handler.
struct Call<'a> {
    broker: &'a Arc<Broker>,
    header: &'a RequestHeader,
    api: ApiKey,
    context: RequestContext,
    /// `None` while everybody may do everything.
    access: Option<Access>,
    /// What an administrator's request is about, if the audit log wants to know.
    audited: OnceLock<Vec<String>>,
}

impl Call<'_> {
    fn decode<R: Decodable>(&self, body: Bytes) -> Result<R, Refused> {
        decode(body, self.header)
    }

    fn admit<R: Guarded>(&self, request: &mut R) -> Verdict<'_, R::Response> {
        self.access.as_ref().map_or(Verdict::Allowed, |access| request.admit(access))
    }

    fn note_subjects<R: Guarded>(&self, request: &R) {
        if self.broker.audit.is_on()
            && let Some(subjects) = request.audited()
        {
            self.audited.get_or_init(|| subjects);
        }
    }

    fn audit<R: ErrorCodes>(&self, response: &R) {
        let Some(subjects) = self.audited.get() else { return };
        let mut errors = std::collections::BTreeSet::new();
        response.each_error(&mut |code| {
            if code != 0 {
                errors.insert(crate::metrics::error_name(code));
            }
        });
        let api = api_name(self.header.api_key).to_owned();
        let event = AuditEvent::AdminRequest { api, subjects: subjects.clone(), errors: errors.into_iter().collect() };
        let (context, host) = (&self.context, self.context.client_addr.ip());
        self.broker.audit.record(&context.principal, host, context.client_id.as_deref(), &event);
    }

    fn respond<R: Encodable + ErrorCodes>(&self, response: &mut R) -> Result<Answer, Refused> {
        response.throttled(self.context.meter_time(self.broker));
        self.audit(response);
        let parts = respond(self.broker, self.header, self.api, self.header.api_version, response)?;
        Ok(Answer::Send(parts, Vec::new()))
    }

    async fn handle(&self, body: Bytes) -> Result<Answer, Refused> {
        let (broker, ctx, version) = (self.broker, &self.context, self.header.api_version);
        /// Decodes the body, asks the request's rule, runs the handler, encodes what it returns.
        macro_rules! serve {
            ($request:ty, |$r:ident| $run:expr) => {{
                #[allow(unused_mut)] // a rule may change it
                let mut $r: $request = self.decode(body)?;
                self.note_subjects(&$r);
                match self.admit(&mut $r) {
                    Verdict::Allowed => self.respond(&mut $run),
                    Verdict::Refused(mut answer) => self.respond(&mut *answer),
                    Verdict::Completed(complete) => {
                        let mut answer = $run;
                        complete(&mut answer);
                        self.respond(&mut answer)
                    }
                }
            }};
        }
        match self.api {
            ApiKey::Fetch => {
                let request: FetchRequest = self.decode(body)?;
                let (parts, hold) = api::fetch::handle(broker, ctx, version, request, self.access.as_ref()).await;
                Ok(Answer::Send(frame_parts(self.header, parts), hold))
            }
            ApiKey::ListOffsets => {
                serve!(ListOffsetsRequest, |r| api::list_offsets::handle(broker, version, r).await)
            }
            ApiKey::Metadata => serve!(MetadataRequest, |r| api::metadata::handle(broker, ctx, version, r).await),
            ApiKey::FindCoordinator => {
                serve!(FindCoordinatorRequest, |r| api::find_coordinator::handle(broker, ctx, version, r))
            }
            ApiKey::OffsetCommit => serve!(OffsetCommitRequest, |r| api::offset_commit::handle(broker, version, r).await),
            ApiKey::OffsetFetch => serve!(OffsetFetchRequest, |r| api::offset_fetch::handle(broker, version, r)),
            ApiKey::JoinGroup => serve!(JoinGroupRequest, |r| api::join_group::handle(broker, ctx, version, r).await),
            ApiKey::Heartbeat => serve!(HeartbeatRequest, |r| api::heartbeat::handle(broker, &r)),
            ApiKey::LeaveGroup => serve!(LeaveGroupRequest, |r| api::leave_group::handle(broker, version, r).await),
            ApiKey::SyncGroup => serve!(SyncGroupRequest, |r| api::sync_group::handle(broker, version, r).await),
            ApiKey::DescribeGroups => {
                serve!(DescribeGroupsRequest, |r| api::describe_groups::handle(broker, version, r))
            }
            ApiKey::ListGroups => serve!(ListGroupsRequest, |r| api::list_groups::handle(broker, version, &r)),
            ApiKey::DeleteGroups => serve!(DeleteGroupsRequest, |r| api::delete_groups::handle(broker, r).await),
            ApiKey::OffsetDelete => serve!(OffsetDeleteRequest, |r| api::offset_delete::handle(broker, r).await),
            ApiKey::ApiVersions => serve!(ApiVersionsRequest, |r| api::api_versions::handle(version, &r)),
            ApiKey::CreateTopics => {
                serve!(CreateTopicsRequest, |r| api::create_topics::handle(broker, version, r).await)
            }
            ApiKey::DeleteTopics => {
                serve!(DeleteTopicsRequest, |r| api::delete_topics::handle(broker, version, r).await)
            }
            ApiKey::DeleteRecords => serve!(DeleteRecordsRequest, |r| api::delete_records::handle(broker, r).await),
            ApiKey::InitProducerId => {
                serve!(InitProducerIdRequest, |r| api::init_producer_id::handle(broker, version, r).await)
            }
            ApiKey::AddPartitionsToTxn => {
                serve!(AddPartitionsToTxnRequest, |r| api::add_partitions_to_txn::handle(broker, version, r).await)
            }
            ApiKey::AddOffsetsToTxn => {
                serve!(AddOffsetsToTxnRequest, |r| api::add_offsets_to_txn::handle(broker, version, r).await)
            }
            ApiKey::EndTxn => serve!(EndTxnRequest, |r| api::end_txn::handle(broker, version, r).await),
            ApiKey::WriteTxnMarkers => {
                serve!(WriteTxnMarkersRequest, |r| api::write_txn_markers::handle(broker, r).await)
            }
            ApiKey::TxnOffsetCommit => {
                serve!(TxnOffsetCommitRequest, |r| api::txn_offset_commit::handle(broker, version, r).await)
            }
            ApiKey::DescribeProducers => {
                serve!(DescribeProducersRequest, |r| api::describe_producers::handle(broker, r))
            }
            ApiKey::DescribeTransactions => {
                serve!(DescribeTransactionsRequest, |r| api::describe_transactions::handle(broker, r))
            }
            ApiKey::ListTransactions => {
                serve!(ListTransactionsRequest, |r| api::list_transactions::handle(broker, &r))
            }
            ApiKey::OffsetForLeaderEpoch => {
                serve!(OffsetForLeaderEpochRequest, |r| api::offset_for_leader_epoch::handle(broker, r))
            }
            ApiKey::DescribeAcls => serve!(DescribeAclsRequest, |r| api::describe_acls::handle(broker, &r).await),
            ApiKey::DescribeClientQuotas => {
                serve!(DescribeClientQuotasRequest, |r| api::describe_client_quotas::handle(broker, &r))
            }
            ApiKey::AlterClientQuotas => {
                serve!(AlterClientQuotasRequest, |r| api::alter_client_quotas::handle(broker, r).await)
            }
            ApiKey::CreateAcls => serve!(CreateAclsRequest, |r| api::create_acls::handle(broker, r).await),
            ApiKey::DeleteAcls => serve!(DeleteAclsRequest, |r| api::delete_acls::handle(broker, r).await),
            ApiKey::DescribeConfigs => {
                serve!(DescribeConfigsRequest, |r| api::describe_configs::handle(broker, version, r))
            }
            ApiKey::AlterConfigs => serve!(AlterConfigsRequest, |r| api::alter_configs::handle(broker, r).await),
            ApiKey::DescribeLogDirs => {
                serve!(DescribeLogDirsRequest, |r| api::describe_log_dirs::handle(broker, version, r))
            }
            ApiKey::CreatePartitions => {
                serve!(CreatePartitionsRequest, |r| api::create_partitions::handle(broker, r).await)
            }
            ApiKey::IncrementalAlterConfigs => {
                serve!(IncrementalAlterConfigsRequest, |r| api::incremental_alter_configs::handle(broker, r).await)
            }
            ApiKey::DescribeCluster => {
                serve!(DescribeClusterRequest, |r| api::describe_cluster::handle(broker, ctx, version, &r))
            }
            ApiKey::ListConfigResources => {
                serve!(ListConfigResourcesRequest, |r| api::list_config_resources::handle(broker, version, &r))
            }
            ApiKey::ConsumerGroupHeartbeat => {
                serve!(ConsumerGroupHeartbeatRequest, |r| {
                    api::consumer_group_heartbeat::handle(broker, ctx, version, r).await
                })
            }
            ApiKey::ConsumerGroupDescribe => {
                serve!(ConsumerGroupDescribeRequest, |r| api::consumer_group_describe::handle(broker, version, r))
            }
            ApiKey::ShareGroupHeartbeat => {
                serve!(ShareGroupHeartbeatRequest, |r| api::share_group_heartbeat::handle(broker, ctx, r).await)
            }
            ApiKey::ShareGroupDescribe => {
                serve!(ShareGroupDescribeRequest, |r| api::share_group_describe::handle(broker, r))
            }
            ApiKey::ShareFetch => {
                let mut request: ShareFetchRequest = self.decode(body)?;
                if let Verdict::Refused(mut answer) = self.admit(&mut request) {
                    return self.respond(&mut *answer);
                }
                let (parts, hold) = api::share_fetch::handle(broker, ctx, request, self.access.as_ref()).await;
                Ok(Answer::Send(frame_parts(self.header, parts), hold))
            }
            ApiKey::ShareAcknowledge => serve!(ShareAcknowledgeRequest, |r| {
                api::share_acknowledge::handle(broker, r, self.access.as_ref()).await
            }),
            ApiKey::DescribeShareGroupOffsets => {
                serve!(DescribeShareGroupOffsetsRequest, |r| api::describe_share_group_offsets::handle(broker, r))
            }
            ApiKey::AlterShareGroupOffsets => {
                serve!(AlterShareGroupOffsetsRequest, |r| api::alter_share_group_offsets::handle(broker, r).await)
            }
            ApiKey::DeleteShareGroupOffsets => {
                serve!(DeleteShareGroupOffsetsRequest, |r| api::delete_share_group_offsets::handle(broker, r).await)
            }
            ApiKey::DescribeTopicPartitions => {
                serve!(DescribeTopicPartitionsRequest, |r| api::describe_topic_partitions::handle(broker, r))
            }
            ApiKey::AlterReplicaLogDirs => {
                serve!(AlterReplicaLogDirsRequest, |r| api::alter_replica_log_dirs::handle(broker, r))
            }
            ApiKey::ElectLeaders => serve!(ElectLeadersRequest, |r| api::elect_leaders::handle(broker, version, r)),
            ApiKey::AlterPartitionReassignments => serve!(AlterPartitionReassignmentsRequest, |r| {
                api::alter_partition_reassignments::handle(broker, version, r)
            }),
            ApiKey::ListPartitionReassignments => {
                serve!(ListPartitionReassignmentsRequest, |_r| api::list_partition_reassignments::handle())
            }
            ApiKey::DescribeQuorum => {
                serve!(DescribeQuorumRequest, |r| api::describe_quorum::handle(broker, ctx, version, r))
            }
            ApiKey::UpdateFeatures => serve!(UpdateFeaturesRequest, |r| api::update_features::handle(&r)),
            ApiKey::DescribeUserScramCredentials => serve!(DescribeUserScramCredentialsRequest, |r| {
                api::describe_user_scram_credentials::handle(broker, &r)
            }),
            ApiKey::AlterUserScramCredentials => serve!(AlterUserScramCredentialsRequest, |r| {
                api::alter_user_scram_credentials::handle(broker, r).await
            }),
            // Handled by `accept`, before anything else of the connection is looked at.
            ApiKey::Produce
            | ApiKey::SaslHandshake
            | ApiKey::SaslAuthenticate
            // Security and quotas.
            | ApiKey::CreateDelegationToken
            | ApiKey::RenewDelegationToken
            | ApiKey::ExpireDelegationToken
            | ApiKey::DescribeDelegationToken
            // Operations of a cluster.
            | ApiKey::Vote
            | ApiKey::BeginQuorumEpoch
            | ApiKey::EndQuorumEpoch
            | ApiKey::AlterPartition
            | ApiKey::Envelope
            | ApiKey::FetchSnapshot
            | ApiKey::BrokerRegistration
            | ApiKey::BrokerHeartbeat
            | ApiKey::UnregisterBroker
            | ApiKey::AllocateProducerIds
            | ApiKey::ControllerRegistration
            | ApiKey::AssignReplicasToDirs
            | ApiKey::AddRaftVoter
            | ApiKey::RemoveRaftVoter
            | ApiKey::UpdateRaftVoter
            // Telemetry; what brokers ask each other about share groups.
            | ApiKey::GetTelemetrySubscriptions
            | ApiKey::PushTelemetry
            | ApiKey::InitializeShareGroupState
            | ApiKey::ReadShareGroupState
            | ApiKey::WriteShareGroupState
            | ApiKey::DeleteShareGroupState
            | ApiKey::ReadShareGroupStateSummary => Err(Refused::NotServed { key: self.header.api_key }),
        }
    }
}
