package dev.weir.fluss;

import java.util.Map;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.metadata.TablePath;

/** What the writer and the readers share. */
final class Client {
    static final TablePath TABLE = TablePath.of("weir", "wide");

    private Client() {}

    /** Defaults but for the settings that the command line names. */
    static Connection connect(Map<String, String> arguments) {
        Configuration config = new Configuration();
        config.setString("bootstrap.servers", arguments.get("bootstrap"));
        arguments.forEach((key, value) -> {
            if (key.startsWith("client.")) {
                config.setString(key, value);
            }
        });
        return ConnectionFactory.createConnection(config);
    }
}
