#!/usr/bin/env bash
# Kafka's own command-line tools from the jars of install.sh, under the names that Kafka's distribution gives them.
#
#   tool.sh kafka-topics --bootstrap-server 127.0.0.1:9092 --list
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tool=${1:-}
shift || true
case ${tool#kafka-} in
  topics) class=org.apache.kafka.tools.TopicCommand ;;
  configs) class=kafka.admin.ConfigCommand ;;
  consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
  groups) class=org.apache.kafka.tools.GroupsCommand ;;
  console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
  console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
  producer-perf-test) class=org.apache.kafka.tools.ProducerPerformance ;;
  consumer-perf-test) class=org.apache.kafka.tools.ConsumerPerformance ;;
  get-offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
  delete-records) class=org.apache.kafka.tools.DeleteRecordsCommand ;;
  log-dirs) class=org.apache.kafka.tools.LogDirsCommand ;;
  broker-api-versions) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
  cluster) class=org.apache.kafka.tools.ClusterTool ;;
  features) class=org.apache.kafka.tools.FeatureCommand ;;
  transactions) class=org.apache.kafka.tools.TransactionsCommand ;;
  acls) class=org.apache.kafka.tools.AclCommand ;;
  leader-election) class=org.apache.kafka.tools.LeaderElectionCommand ;;
  reassign-partitions) class=org.apache.kafka.tools.reassign.ReassignPartitionsCommand ;;
  metadata-quorum) class=org.apache.kafka.tools.MetadataQuorumCommand ;;
  dump-log) class=org.apache.kafka.tools.DumpLogSegments ;;
  client-metrics) class=org.apache.kafka.tools.ClientMetricsCommand ;;
  console-share-consumer) class=org.apache.kafka.tools.consumer.ConsoleShareConsumer ;;
  delegation-tokens) class=org.apache.kafka.tools.DelegationTokenCommand ;;
  e2e-latency) class=org.apache.kafka.tools.EndToEndLatency ;;
  replica-verification) class=org.apache.kafka.tools.ReplicaVerificationTool ;;
  share-groups) class=org.apache.kafka.tools.consumer.group.ShareGroupCommand ;;
  share-consumer-perf-test) class=org.apache.kafka.tools.ShareConsumerPerformance ;;
  storage) class=kafka.tools.StorageTool ;;
  streams-application-reset) class=org.apache.kafka.tools.StreamsResetter ;;
  streams-groups) class=org.apache.kafka.tools.streams.StreamsGroupCommand ;;
  verifiable-consumer) class=org.apache.kafka.tools.VerifiableConsumer ;;
  verifiable-producer) class=org.apache.kafka.tools.VerifiableProducer ;;
  *)
    echo "tool.sh: unknown tool '$tool'; known: $(sed -n 's/^  \([a-z0-9-]*\)) class=.*/\1/p' "${BASH_SOURCE[0]}" | tr '\n' ' ')" >&2
    exit 2
    ;;
esac
libs=$("$here/install.sh")
# The words in KAFKA_TOOL_OPTS are meant to split.
# shellcheck disable=SC2086
exec java ${KAFKA_TOOL_OPTS:--Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto} -cp "$libs/*" \
  "-Dlog4j2.configurationFile=file:$here/tools-log4j2.properties" "$class" "$@"
