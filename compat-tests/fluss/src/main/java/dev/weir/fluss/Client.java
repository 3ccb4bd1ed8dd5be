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

    /** Defaults but for one, and for the settings that the command line names. */
    static Connection connect(Map<String, String> arguments) {
        Configuration config = new Configuration();
        config.setString("bootstrap.servers", arguments.get("bootstrap"));
        // How long the server keeps a fetch that finds no rows, by default 500 ms. The client has one fetch under way, so a bucket that is
        // read to its end earlier than others would keep them waiting so long: in a log that does not grow the wait is what were measured.
        config.setString("client.scanner.log.fetch.wait-max-time", "10ms");
        arguments.forEach((key, value) -> {
            if (key.startsWith("client.")) {
                config.setString(key, value);
            }
        });
        return ConnectionFactory.createConnection(config);
    }
}
