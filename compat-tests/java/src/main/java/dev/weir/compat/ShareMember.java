package dev.weir.compat;

import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;

/** A member of a share group in a process of its own, so that it can die with records in its hands. It never acknowledges. */
final class ShareMember {
    private ShareMember() {}

    static void main(String[] args) {
        KafkaShareConsumer<byte[], byte[]> consumer =
                ShareGroupChecks.member(args[0], args[1], "share.acknowledgement.mode", "explicit");
        consumer.subscribe(List.of(args[2]));
        int polled = 0;
        for (long end = System.nanoTime() + Duration.ofSeconds(60).toNanos(); System.nanoTime() < end && polled == 0; ) {
            polled = consumer.poll(Duration.ofMillis(500)).count();
        }
        System.out.println("polled " + polled);
        try {
            // It ends by itself should the suite die before it could kill it.
            Thread.sleep(60_000);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
