package dev.weir.compat;

import static dev.weir.compat.Clients.check;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * A group of 20 members of the consumer protocol in which members join, leave and die, at default settings.
 *
 * <p>Each member tells when it takes and gives up a partition. No partition may have two owners, and none may be without one for
 * more than 2 s unless its owner died; then it may take the session timeout longer.
 */
final class GroupOfTwenty {
    private static final int MEMBERS = 20;
    private static final int PARTITIONS = 60;
    private static final long OWNERLESS_MS_MAX = 2_000;

    private final Suite suite;
    private final String topic;
    private final String group;
    private final Random random = new Random(848);
    private final Map<Integer, String> owner = new HashMap<>();
    private final Map<Integer, Long> free = new HashMap<>();
    private final AtomicReference<String> problem = new AtomicReference<>();
    private boolean started;
    private long worst;
    private final List<Long> gaps = new ArrayList<>();

    private GroupOfTwenty(Suite suite) {
        this.suite = suite;
        this.topic = suite.name("twenty");
        this.group = suite.name("twenty-group");
    }

    static void register(Map<String, Suite.Check> checks) {
        checks.put("kip848-group-of-twenty", (suite, counts) -> new GroupOfTwenty(suite).run());
    }

    /** One member on a thread of its own. */
    private final class Member extends Thread {
        private final KafkaConsumer<byte[], byte[]> consumer =
                Clients.consumer(suite, "group.id", group, "group.protocol", "consumer");
        private volatile boolean leaving;

        Member(String name) {
            super(name);
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try (consumer) {
                consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                    @Override
                    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                        took(getName(), partitions);
                    }

                    @Override
                    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                        gaveUp(getName(), partitions);
                    }
                });
                while (!leaving) {
                    consumer.poll(Duration.ofMillis(200));
                }
            } catch (RuntimeException e) {
                problem.compareAndSet(null, getName() + " failed: " + e);
            }
        }
    }

    private synchronized void took(String member, Collection<TopicPartition> partitions) {
        long now = System.nanoTime() / 1_000_000;
        for (TopicPartition tp : partitions) {
            String other = owner.put(tp.partition(), member);
            if (other != null) {
                problem.compareAndSet(null, tp + " went to " + member + " while " + other + " had it");
            }
            Long since = free.remove(tp.partition());
            if (since != null) {
                gaps.add(now - since);
                worst = Math.max(worst, now - since);
            }
        }
    }

    private synchronized void gaveUp(String member, Collection<TopicPartition> partitions) {
        for (TopicPartition tp : partitions) {
            owner.remove(tp.partition(), member);
            if (started) {
                free.put(tp.partition(), System.nanoTime() / 1_000_000);
            }
        }
    }

    private synchronized int owned() {
        return owner.size();
    }

    private void run() throws Exception {
        Clients.createTopic(suite, topic, PARTITIONS);
        List<Member> members = new ArrayList<>();
        for (int i = 0; i < MEMBERS; i++) {
            members.add(new Member("m" + i));
        }
        Clients.eventually("all partitions have owners", 60, () -> owned() == PARTITIONS);
        Thread.sleep(5_000);
        synchronized (this) {
            started = true;
        }
        for (int round = 0; round < 10; round++) {
            if (round % 3 == 2) {
                members.add(new Member("m" + (MEMBERS + round)));
            } else {
                Member one = members.remove(random.nextInt(members.size()));
                one.leaving = true;
                one.join(20_000);
                check(!one.isAlive(), "a member needs more than 20 s to leave");
            }
            Clients.eventually("all partitions have owners again", 30, () -> owned() == PARTITIONS);
            Thread.sleep(500 + random.nextInt(1_500));
        }
        for (Member member : members) {
            member.leaving = true;
        }
        check(problem.get() == null, problem.get());
        System.err.println("kip848-group-of-twenty: " + gaps.size() + " hand-overs, longest without an owner " + worst + " ms");
        check(gaps.size() >= 20, "only " + gaps.size() + " partitions changed hands");
        check(suite.targetIsKafka || worst <= OWNERLESS_MS_MAX, "a partition was without an owner for " + worst + " ms");
    }
}
