package dev.weir.compat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import javax.security.auth.callback.Callback;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client for the security suite (../python/security.py): one JSON argument in, one JSON line out. PEM stores. */
final class Secured {
    private static final long LIMIT_MS = 30_000;

    private Secured() {}

    static void main(String text) throws Exception {
        ObjectMapper json = new ObjectMapper();
        JsonNode wanted = json.readTree(text);
        ObjectNode answer = json.createObjectNode();
        try {
            ArrayNode values = answer.putArray("values");
            roundtrip(wanted).forEach(values::add);
        } catch (KafkaException | ExecutionException error) {
            answer.removeAll();
            Throwable cause = error.getCause() == null ? error : error.getCause();
            answer.put("refused", cause.getClass().getSimpleName() + ": " + cause.getMessage());
        }
        System.out.println(json.writeValueAsString(answer));
        System.exit(0);
    }

    private static List<String> roundtrip(JsonNode wanted) throws Exception {
        Map<String, Object> config = config(wanted);
        String topic = wanted.get("topic").asText();
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        }
        List<String> got = new ArrayList<>();
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            double seconds = wanted.has("seconds") ? wanted.get("seconds").asDouble() : 0;
            long pauseMs = (long) (seconds * 1000 / wanted.get("values").size());
            for (JsonNode value : wanted.get("values")) {
                sent.add(producer.send(new ProducerRecord<>(topic, value.asText())));
                Thread.sleep(pauseMs);
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
        config.put("group.id", topic);
        config.put("auto.offset.reset", "earliest");
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(Set.of(topic));
            long until = System.currentTimeMillis() + LIMIT_MS;
            while (got.size() < wanted.get("values").size() && System.currentTimeMillis() < until) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    got.add(record.value());
                }
            }
        }
        return got;
    }

    private static Map<String, Object> config(JsonNode wanted) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", wanted.get("bootstrap").asText());
        config.put("security.protocol", wanted.has("mechanism") ? "SASL_SSL" : "SSL");
        config.put("ssl.truststore.type", "PEM");
        config.put("ssl.truststore.location", wanted.get("ca").asText());
        int limit = wanted.has("refused") ? 8_000 : (int) LIMIT_MS;
        config.put("request.timeout.ms", limit / 2);
        config.put("default.api.timeout.ms", limit);
        if (wanted.has("cert")) {
            config.put("ssl.keystore.type", "PEM");
            config.put("ssl.keystore.certificate.chain", Files.readString(Path.of(wanted.get("cert").asText())));
            config.put("ssl.keystore.key", Files.readString(Path.of(wanted.get("key").asText())));
        }
        if (!wanted.has("mechanism")) {
            return config;
        }
        String mechanism = wanted.get("mechanism").asText();
        config.put("sasl.mechanism", mechanism);
        String modules = "org.apache.kafka.common.security.";
        if (wanted.has("token")) {
            config.put("sasl.jaas.config", modules + "oauthbearer.OAuthBearerLoginModule required token=\""
                    + wanted.get("token").asText() + "\";");
            config.put("sasl.login.callback.handler.class", Token.class.getName());
        } else {
            String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            config.put("sasl.jaas.config", modules + module + " required username=\"" + wanted.get("username").asText()
                    + "\" password=\"" + wanted.get("password").asText() + "\";");
        }
        return config;
    }

    /** Hands out the token of the login configuration, whatever it is worth. */
    public static final class Token implements AuthenticateCallbackHandler {
        private String token;

        @Override
        public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {
            token = (String) entries.get(0).getOptions().get("token");
        }

        @Override
        public void handle(Callback[] callbacks) {
            for (Callback callback : callbacks) {
                if (callback instanceof OAuthBearerTokenCallback wanted) {
                    wanted.token(new Worth(token));
                }
            }
        }

        @Override
        public void close() {}
    }

    private record Worth(String value) implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }

        @Override
        public long lifetimeMs() {
            return System.currentTimeMillis() + 3_600_000;
        }

        @Override
        public String principalName() {
            return "bearer";
        }

        @Override
        public Long startTimeMs() {
            return null;
        }
    }
}
