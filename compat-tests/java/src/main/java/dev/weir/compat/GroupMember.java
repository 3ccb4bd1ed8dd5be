package dev.weir.compat;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** A group member in a process of its own, so that it can die without leaving. Prints what it is assigned and never commits. */
final class GroupMember {
    private GroupMember() {}

    static void main(String[] args) {
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(
                args[0], "group.id", args[1], "session.timeout.ms", "6000", "heartbeat.interval.ms", "500")) {
            consumer.subscribe(List.of(args[2]), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    System.out.println("assigned " + partitions.size());
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    System.out.println("revoked " + partitions.size());
                }
            });
            // It ends by itself should the suite die before it could kill it.
            for (long end = System.nanoTime() + Duration.ofSeconds(90).toNanos(); System.nanoTime() < end; ) {
                consumer.poll(Duration.ofMillis(200));
            }
        }
    }
}
