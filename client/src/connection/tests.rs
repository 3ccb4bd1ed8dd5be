use kafka_protocol::messages::{ApiKey, DescribeClusterRequest, DescribeClusterResponse, FetchRequest, ResponseKind};

use super::*;
use crate::testing::ScriptedBroker;

fn address() -> BrokerAddress {
    "test:9092".parse().unwrap()
}

#[tokio::test]
async fn negotiation_falls_back_from_the_newest_question_and_calls_use_the_common_version() {
    let broker = ScriptedBroker::new(&[(ApiKey::DescribeCluster, 0, 1)], |_, version, _| {
        assert_eq!(version, 1);
        let response = DescribeClusterResponse::default().with_cluster_id(StrBytes::from_static_str("abc"));
        Some(ResponseKind::DescribeCluster(response))
    });
    let connection = Connection::open(&broker, &address(), false, &ClientConfig::default()).await.unwrap();
    let response = connection.call(|_| DescribeClusterRequest::default()).await.unwrap();
    assert_eq!(&*response.cluster_id, "abc");
    assert!(matches!(connection.version::<FetchRequest>(), Err(ClientError::ApiNotServed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_answer_times_out_and_closes_the_connection() {
    struct Silent;
    impl Connector for Silent {
        fn connect<'a>(&'a self, _: &'a BrokerAddress) -> crate::transport::Connecting<'a> {
            Box::pin(async {
                let (near, far) = tokio::io::duplex(1024);
                // Kept open for ever, but never answered.
                std::mem::forget(far);
                Ok(Box::new(near) as Box<dyn crate::transport::Stream>)
            })
        }
    }
    let error = Connection::open(&Silent, &address(), false, &ClientConfig::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { api: ApiKey::ApiVersions, .. }), "{error}");
}

#[tokio::test]
async fn a_broker_that_hangs_up_is_named() {
    let broker = ScriptedBroker::new(&[(ApiKey::DescribeCluster, 0, 1)], |_, _, _| None);
    let connection = Connection::open(&broker, &address(), false, &ClientConfig::default()).await.unwrap();
    let error = connection.call(|_| DescribeClusterRequest::default()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Disconnected { broker, .. } if broker == "test:9092"), "{error}");
    assert!(connection.is_closed());
}
