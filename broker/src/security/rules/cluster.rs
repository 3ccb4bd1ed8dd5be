//! Configs, replicas, access control lists, the cluster.
//!
//! | request | needs | without it |
//! |---|---|---|
//! | DescribeConfigs | DescribeConfigs of the Topic or Group, for anything else of the Cluster | per resource |
//! | AlterConfigs, IncrementalAlterConfigs | AlterConfigs likewise | per resource |
//! | ListConfigResources | DescribeConfigs Cluster | the whole request |
//! | DescribeAcls | Describe Cluster | the whole request |
//! | CreateAcls, DeleteAcls | Alter Cluster | each binding, each filter |
//! | DescribeClientQuotas, AlterClientQuotas | DescribeConfigs, AlterConfigs Cluster | the whole request, each entity |
//! | DescribeUserScramCredentials, AlterUserScramCredentials | Describe, Alter Cluster | the whole request, each user |
//! | DescribeLogDirs, ListPartitionReassignments, DescribeQuorum | Describe Cluster | the whole request |
//! | AlterReplicaLogDirs, AlterPartitionReassignments, ElectLeaders, UpdateFeatures | Alter Cluster | the whole request |
//! | DescribeCluster | nothing; what may be done is shown to those with Describe Cluster | |
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::*;
use weir_protocol::columnar::TAG;

use super::topics::{correct_cluster, may_show};
use super::{Access, CLUSTER_REFUSED, Guarded, Verdict, take_refused};
use crate::api::config_resource::{GROUP, TOPIC};
use crate::error_code::ErrorCode;
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};

/// What a resource of configs is to the authoriser, and the code that refuses it.
fn config_resource(kind: i8, name: &str) -> (ResourceType, &str, ErrorCode) {
    match kind {
        TOPIC => (ResourceType::Topic, name, ErrorCode::TopicAuthorizationFailed),
        GROUP => (ResourceType::Group, name, ErrorCode::GroupAuthorizationFailed),
        _ => (ResourceType::Cluster, CLUSTER_NAME, ErrorCode::ClusterAuthorizationFailed),
    }
}

fn may_config(access: &Access, operation: Operation, kind: i8, name: &str) -> bool {
    let (resource, name, _) = config_resource(kind, name);
    access.allows(operation, resource, name)
}

impl Guarded for DescribeConfigsRequest {
    type Response = DescribeConfigsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeConfigsResponse> {
        let operation = Operation::DescribeConfigs;
        let refused =
            take_refused(&mut self.resources, |r| may_config(access, operation, r.resource_type, &r.resource_name));
        Verdict::without(refused, move |answer: &mut Self::Response, refused| {
            answer.results.extend(refused.into_iter().map(|resource| {
                let (_, _, code) = config_resource(resource.resource_type, &resource.resource_name);
                DescribeConfigsResult::default()
                    .with_error_code(code.code())
                    .with_error_message(access.message(code, operation))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            }));
        })
    }
}

/// AlterConfigs and its successor.
macro_rules! alter_configs {
    ($($request:ident => $response:ident, $result:ident;)*) => {$(
        impl Guarded for $request {
            type Response = $response;

            fn audited(&self) -> Option<Vec<String>> {
                let subjects = self.resources.iter().map(|resource| {
                    // Values may be secrets; their names are not.
                    let names: Vec<&str> = resource.configs.iter().map(|config| config.name.as_str()).collect();
                    format!("{}:{} {}", resource.resource_type, resource.resource_name, names.join(","))
                });
                Some(subjects.collect())
            }

            fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, $response> {
                let operation = Operation::AlterConfigs;
                let may = |kind, name: &str| {
                    let view = access.broker.topics.get(name).filter(|_| kind == TOPIC);
                    let source = view.as_ref().and_then(|topic| topic.view.as_ref()).map(|view| view.source_name.as_str());
                    may_config(access, operation, kind, name) && may_show(access, source)
                };
                let refused = take_refused(&mut self.resources, |r| may(r.resource_type, &r.resource_name));
                Verdict::without(refused, move |answer: &mut Self::Response, refused| {
                    answer.responses.extend(refused.into_iter().map(|resource| {
                        let (_, _, code) = config_resource(resource.resource_type, &resource.resource_name);
                        $result::default()
                            .with_error_code(code.code())
                            .with_error_message(access.message(code, operation))
                            .with_resource_type(resource.resource_type)
                            .with_resource_name(resource.resource_name)
                    }));
                })
            }
        }
    )*};
}

alter_configs! {
    AlterConfigsRequest => AlterConfigsResponse, AlterConfigsResourceResponse;
    IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, IncrementalResponse;
}

/// Requests about the cluster: one operation, or one error for the whole answer.
macro_rules! of_cluster {
    ($($request:ident => $response:ident, $operation:ident $(, $message:ident)?;)*) => {$(
        impl Guarded for $request {
            type Response = $response;

            fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, $response> {
                if access.cluster(Operation::$operation) {
                    return Verdict::Allowed;
                }
                let answer = $response::default().with_error_code(CLUSTER_REFUSED);
                $(let answer = answer.$message(
                    access.message(ErrorCode::ClusterAuthorizationFailed, Operation::$operation)
                );)?
                Verdict::refused(answer)
            }
        }
    )*};
}

of_cluster! {
    ListConfigResourcesRequest => ListConfigResourcesResponse, DescribeConfigs;
    DescribeAclsRequest => DescribeAclsResponse, Describe, with_error_message;
    DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse, Describe, with_error_message;
    ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse, Describe, with_error_message;
    AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse, Alter, with_error_message;
    UpdateFeaturesRequest => UpdateFeaturesResponse, Alter, with_error_message;
}

impl Guarded for DescribeClientQuotasRequest {
    type Response = DescribeClientQuotasResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeClientQuotasResponse> {
        if access.cluster(Operation::DescribeConfigs) {
            return Verdict::Allowed;
        }
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::DescribeConfigs);
        let answer = DescribeClientQuotasResponse::default().with_error_code(CLUSTER_REFUSED);
        Verdict::refused(answer.with_error_message(message).with_entries(None))
    }
}

impl Guarded for AlterClientQuotasRequest {
    type Response = AlterClientQuotasResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(self.entries.iter().map(|entry| format!("{:?} {:?}", entry.entity, entry.ops)).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, AlterClientQuotasResponse> {
        use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
        if access.cluster(Operation::AlterConfigs) {
            return Verdict::Allowed;
        }
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::AlterConfigs);
        let entries = self.entries.iter().map(|entry| {
            let entity = entry.entity.iter().map(|part| {
                let name = part.entity_name.clone();
                EntityData::default().with_entity_type(part.entity_type.clone()).with_entity_name(name)
            });
            let refused = EntryData::default().with_error_code(CLUSTER_REFUSED).with_error_message(message.clone());
            refused.with_entity(entity.collect())
        });
        Verdict::refused(AlterClientQuotasResponse::default().with_entries(entries.collect()))
    }
}

impl Guarded for AlterUserScramCredentialsRequest {
    type Response = AlterUserScramCredentialsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        let (gone, set) = (self.deletions.iter(), self.upsertions.iter());
        Some(gone.map(|user| user.name.to_string()).chain(set.map(|user| user.name.to_string())).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, AlterUserScramCredentialsResponse> {
        use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
        if access.cluster(Operation::Alter) {
            return Verdict::Allowed;
        }
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::Alter);
        let users = self.deletions.iter().map(|user| &user.name).chain(self.upsertions.iter().map(|user| &user.name));
        // Each user once, as the answer has them.
        let users: std::collections::BTreeSet<_> = users.map(|name| name.to_string()).collect();
        let results = users.into_iter().map(|user| {
            AlterUserScramCredentialsResult::default()
                .with_user(crate::api::wire(user))
                .with_error_code(CLUSTER_REFUSED)
                .with_error_message(message.clone())
        });
        Verdict::refused(AlterUserScramCredentialsResponse::default().with_results(results.collect()))
    }
}

impl Guarded for DescribeQuorumRequest {
    type Response = DescribeQuorumResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeQuorumResponse> {
        if access.cluster(Operation::Describe) {
            return Verdict::Allowed;
        }
        let answer = DescribeQuorumResponse::default().with_error_code(CLUSTER_REFUSED).with_error_message(None);
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::Describe);
        Verdict::refused(if access.version >= 2 { answer.with_error_message(message) } else { answer })
    }
}

impl Guarded for ElectLeadersRequest {
    type Response = ElectLeadersResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ElectLeadersResponse> {
        if access.cluster(Operation::Alter) {
            return Verdict::Allowed;
        }
        // Version 0 has no error for the whole answer, and says it for each partition.
        use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::Alter);
        let results = self.topic_partitions.iter().flatten().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                PartitionResult::default()
                    .with_partition_id(*index)
                    .with_error_code(CLUSTER_REFUSED)
                    .with_error_message(message.clone())
            });
            let partitions = partitions.collect();
            ReplicaElectionResult::default().with_topic(topic.topic.clone()).with_partition_result(partitions)
        });
        let answer = ElectLeadersResponse::default().with_replica_election_results(results.collect());
        Verdict::refused(if access.version >= 1 { answer.with_error_code(CLUSTER_REFUSED) } else { answer })
    }
}

impl Guarded for DescribeLogDirsRequest {
    type Response = DescribeLogDirsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeLogDirsResponse> {
        if access.cluster(Operation::Describe) {
            return Verdict::Allowed;
        }
        let answer = DescribeLogDirsResponse::default();
        if access.version >= 3 {
            return Verdict::refused(answer.with_error_code(CLUSTER_REFUSED));
        }
        let result = DescribeLogDirsResult::default().with_error_code(CLUSTER_REFUSED);
        Verdict::refused(answer.with_results(vec![result]))
    }
}

impl Guarded for AlterReplicaLogDirsRequest {
    type Response = AlterReplicaLogDirsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, AlterReplicaLogDirsResponse> {
        if access.cluster(Operation::Alter) {
            return Verdict::Allowed;
        }
        let results = self.dirs.iter().flat_map(|dir| &dir.topics).map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(CLUSTER_REFUSED)
            });
            AlterReplicaLogDirTopicResult::default()
                .with_topic_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        Verdict::refused(AlterReplicaLogDirsResponse::default().with_results(results.collect()))
    }
}

impl Guarded for CreateAclsRequest {
    type Response = CreateAclsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        let subject = |wanted: &AclCreation| {
            let some = if wanted.unknown_tagged_fields.contains_key(&TAG) { " of some columns and rows" } else { "" };
            let made = crate::api::create_acls::binding(wanted);
            made.map_or_else(|error| error.to_string(), |made| format!("{made}{some}"))
        };
        Some(self.creations.iter().map(subject).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, CreateAclsResponse> {
        if access.cluster(Operation::Alter) {
            return Verdict::Allowed;
        }
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::Alter);
        let refused = AclCreationResult::default().with_error_code(CLUSTER_REFUSED).with_error_message(message);
        Verdict::refused(CreateAclsResponse::default().with_results(vec![refused; self.creations.len()]))
    }
}

impl Guarded for DeleteAclsRequest {
    type Response = DeleteAclsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(self.filters.iter().map(|filter| format!("{filter:?}")).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DeleteAclsResponse> {
        if access.cluster(Operation::Alter) {
            return Verdict::Allowed;
        }
        let message = access.message(ErrorCode::ClusterAuthorizationFailed, Operation::Alter);
        let refused = DeleteAclsFilterResult::default().with_error_code(CLUSTER_REFUSED).with_error_message(message);
        Verdict::refused(DeleteAclsResponse::default().with_filter_results(vec![refused; self.filters.len()]))
    }
}

impl Guarded for DescribeClusterRequest {
    type Response = DescribeClusterResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeClusterResponse> {
        Verdict::completed(|answer: &mut DescribeClusterResponse| {
            correct_cluster(access, &mut answer.cluster_authorized_operations);
        })
    }
}
