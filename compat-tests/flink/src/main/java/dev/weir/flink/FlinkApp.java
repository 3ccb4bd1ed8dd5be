package dev.weir.flink;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * A Flink SQL job in a cluster of this one process: rows of a topic, changed, into another topic through the exactly-once sink, whose
 * transactions end with checkpoints. {@code BOOTSTRAP CHECKPOINT_DIR [CHECKPOINT]}: with the last one it goes on from there.
 */
public final class FlinkApp {
    private FlinkApp() {}

    public static void main(String[] args) throws Exception {
        Configuration config = new Configuration();
        config.setString("execution.checkpointing.interval", "1s");
        config.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        config.setString("execution.checkpointing.dir", "file://" + args[1]);
        config.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        config.setString("execution.checkpointing.num-retained", "3");
        config.setString("execution.checkpointing.tolerable-failed-checkpoints", "1000");
        config.setString("restart-strategy.type", "fixed-delay");
        config.setString("restart-strategy.fixed-delay.attempts", "1000");
        config.setString("restart-strategy.fixed-delay.delay", "500ms");
        config.setString("rest.bind-port", "0");
        if (args.length > 2) {
            config.setString("execution.state-recovery.path", "file://" + args[2]);
        }
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(2, config);
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        String kafka = "'connector' = 'kafka', 'properties.bootstrap.servers' = '" + args[0] + "', 'format' = 'csv',"
                + " 'properties.reconnect.backoff.max.ms' = '200',";
        tables.executeSql("CREATE TABLE numbers (id BIGINT, word STRING) WITH (" + kafka
                + " 'topic' = 'numbers', 'properties.group.id' = 'flink', 'scan.startup.mode' = 'earliest-offset')");
        tables.executeSql("CREATE TABLE doubled (id BIGINT, word STRING) WITH (" + kafka
                + " 'topic' = 'doubled', 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = 'flink',"
                + " 'properties.transaction.timeout.ms' = '900000')");
        tables.executeSql("INSERT INTO doubled SELECT id * 2, UPPER(word) FROM numbers WHERE MOD(id, 10) <> 7").await();
    }
}
