//! The cluster itself: its brokers and their disks.

use kafka_protocol::messages::{DescribeClusterRequest, DescribeLogDirsRequest};

use super::Admin;
use crate::cluster::AutoCreate;
use crate::config::BrokerAddress;
use crate::connection::retrying;
use crate::error::{ClientError, Result};
use crate::metadata::BrokerInfo;

/// The cluster as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: Option<String>,
    /// Broker id of the controller.
    pub controller: Option<i32>,
    /// Its brokers by id.
    pub brokers: Vec<BrokerInfo>,
}

/// A partition's size in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSize {
    /// Name of the topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Bytes on disk.
    pub bytes: i64,
}

/// A directory in which a broker keeps its logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// The broker.
    pub broker: i32,
    /// Path on that broker.
    pub path: String,
    /// Bytes of the volume, if the broker tells.
    pub total_bytes: Option<i64>,
    /// Bytes still free, if the broker tells.
    pub usable_bytes: Option<i64>,
    /// What it holds.
    pub partitions: Vec<PartitionSize>,
}

impl Admin {
    /// The cluster's id, controller and brokers. Falls back to metadata on brokers without DescribeCluster.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        let described = retrying(self.client.config(), || async {
            let connection = self.client.any_connection().await?;
            let response = connection.call(|_| DescribeClusterRequest::default()).await?;
            connection.check::<DescribeClusterRequest>("", response.error_code, response.error_message.as_deref())?;
            Ok(response)
        })
        .await;
        match described {
            Ok(response) => {
                let mut brokers: Vec<_> = response
                    .brokers
                    .iter()
                    .filter_map(|broker| {
                        let address =
                            BrokerAddress { host: broker.host.to_string(), port: u16::try_from(broker.port).ok()? };
                        let rack = broker.rack.as_deref().map(str::to_owned);
                        Some(BrokerInfo { id: broker.broker_id.0, address, rack })
                    })
                    .collect();
                brokers.sort_by_key(|broker| broker.id);
                Ok(ClusterDescription {
                    id: (!response.cluster_id.is_empty()).then(|| response.cluster_id.to_string()),
                    controller: (response.controller_id.0 >= 0).then_some(response.controller_id.0),
                    brokers,
                })
            }
            Err(ClientError::ApiNotServed { .. } | ClientError::NoCommonVersion { .. }) => {
                self.client.refresh(&[], AutoCreate::Forbidden).await?;
                let metadata = self.client.metadata();
                Ok(ClusterDescription {
                    id: metadata.cluster_id.clone(),
                    controller: metadata.controller,
                    brokers: metadata.brokers.into_values().collect(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The log directories of all brokers with what they hold.
    pub async fn describe_log_dirs(&self) -> Result<Vec<LogDir>> {
        let mut dirs = Vec::new();
        for broker in self.client.brokers().await? {
            let connection = self.client.broker(broker.id).await?;
            let response = connection.call(|_| DescribeLogDirsRequest::default().with_topics(None)).await?;
            connection.check::<DescribeLogDirsRequest>("", response.error_code, None)?;
            for dir in response.results {
                let subject = format!("log directory {}", &*dir.log_dir);
                connection.check::<DescribeLogDirsRequest>(&subject, dir.error_code, None)?;
                let sizes = dir.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|partition| PartitionSize {
                        topic: topic.name.to_string(),
                        partition: partition.partition_index,
                        bytes: partition.partition_size,
                    })
                });
                dirs.push(LogDir {
                    broker: broker.id,
                    path: dir.log_dir.to_string(),
                    total_bytes: (dir.total_bytes >= 0).then_some(dir.total_bytes),
                    usable_bytes: (dir.usable_bytes >= 0).then_some(dir.usable_bytes),
                    partitions: sizes.collect(),
                });
            }
        }
        Ok(dirs)
    }
}
