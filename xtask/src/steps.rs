//! What `cargo xtask test` runs, as a table. To add a client: a line in `STEPS`, and its counts in
//! compat-tests/expected.toml.
//!
//! Words in braces are replaced: {root} the checkout, {cache} the shared cache folder, {target} cargo's target folder,
//! {scratch} a folder of this run, {weir} the binary, {data} the flights, {python} and {node} the interpreters with the
//! clients; for a client suite also {rows}, {bootstrap}, {http}, {registry} and {broker} (`weir` or `kafka`). The same
//! values are in the environment as WEIR_CACHE, WEIRTEST_BIN, WEIRTEST_DATA_FILE, WEIRTEST_PYTHON, WEIRTEST_NODE, WEIRTEST_ROWS,
//! WEIRTEST_BOOTSTRAP, WEIRTEST_HTTP, WEIRTEST_REGISTRY, WEIRTEST_BROKER.

/// When a step runs, and beside how many others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The build, with the installs beside it: one waits for the CPU, the others for the network.
    Build,
    /// Checks of the source and Rust tests, one after the other: they share cargo's lock.
    Rust,
    /// Client suites, two at a time, each against a broker of its own.
    Clients,
    /// What wants the machine for itself.
    Alone,
}

impl Phase {
    /// In the order in which they run.
    pub const ALL: [Phase; 4] = [Phase::Build, Phase::Rust, Phase::Clients, Phase::Alone];

    /// How many of its steps run at once.
    pub fn width(self) -> usize {
        match self {
            Phase::Build | Phase::Clients => 2,
            Phase::Rust | Phase::Alone => 1,
        }
    }
}

/// What a step does.
pub enum Action {
    /// A command in the root of the checkout; exit code 0 passes.
    Command(&'static [&'static str]),
    /// The same for `cargo test`; it must also have executed a test.
    CargoTest(&'static [&'static str]),
    /// A client suite against a broker started for it; it reports as these clients of expected.toml.
    Client { clients: &'static [&'static str], command: &'static [&'static str] },
}

/// One line of the table.
pub struct Step {
    /// For `--only`.
    pub name: &'static str,
    /// For `--list`.
    pub about: &'static str,
    /// When it runs.
    pub phase: Phase,
    /// Programs without which it is skipped.
    pub tools: &'static [&'static str],
    /// Earlier steps that must have passed.
    pub needs: &'static [&'static str],
    /// Its time limit.
    pub minutes: u64,
    /// What it does.
    pub action: Action,
}

const fn command(
    phase: Phase,
    name: &'static str,
    about: &'static str,
    tools: &'static [&'static str],
    needs: &'static [&'static str],
    minutes: u64,
    command: &'static [&'static str],
) -> Step {
    Step { name, about, phase, tools, needs, minutes, action: Action::Command(command) }
}

const fn client(
    name: &'static str,
    about: &'static str,
    tools: &'static [&'static str],
    needs: &'static [&'static str],
    clients: &'static [&'static str],
    command: &'static [&'static str],
) -> Step {
    Step { name, about, phase: Phase::Clients, tools, needs, minutes: 8, action: Action::Client { clients, command } }
}

const PYTHON: &str = "compat-tests/python/driver.py";
const SECURITY: &str = "compat-tests/python/security.py";
const VIEWS: &str = "compat-tests/python/views.py";
const NODE: &str = "compat-tests/node/driver.mjs";

/// Every step, in order; a step's `needs` stand above it.
#[rustfmt::skip]
pub const STEPS: &[Step] = &[
    command(Phase::Build, "build", "cargo build of the workspace, tests included", &[], &[], 60,
        &["cargo", "build", "--locked", "--workspace", "--all-targets"]),
    command(Phase::Build, "install-python", "Python clients, as requirements.lock says", &["python3"], &[], 10,
        &["bash", "compat-tests/python/install.sh"]),
    command(Phase::Build, "install-lake", "DuckDB, pyiceberg and pypaimon, as requirements.lock says", &["python3"], &[], 10,
        &["bash", "compat-tests/lake/install.sh"]),
    command(Phase::Build, "install-s3-server", "an S3 server with conditional writes, as go.sum says", &["go"], &[], 10,
        &["bash", "compat-tests/lake/s3-server/install.sh"]),
    command(Phase::Build, "install-weir-python", "client/python as pip builds it", &["python3"], &["build", "install-python"], 15,
        &["bash", "compat-tests/python/install_weir.sh"]),
    command(Phase::Build, "data", "flights, weather and planes as JSON lines", &[], &["install-python"], 5,
        &["{python}", "compat-tests/data/extract.py"]),
    command(Phase::Build, "install-node", "Node and its clients, as package-lock.json says", &["npm"], &[], 10,
        &["bash", "compat-tests/node/install.sh"]),
    command(Phase::Build, "install-kafka", "Apache Kafka and its tools from Maven artifacts", &["java", "mvn"], &[], 10,
        &["bash", "compat-tests/kafka/install.sh"]),
    command(Phase::Build, "install-java", "the Java suite and its dependencies", &["java", "mvn"], &[], 10,
        &["bash", "compat-tests/java/run.sh", "build"]),
    command(Phase::Build, "install-ecosystem", "Kafka Streams, Connect and MirrorMaker 2 from Maven artifacts", &["java", "mvn"], &[], 10,
        &["bash", "compat-tests/ecosystem/run.sh", "build"]),
    command(Phase::Build, "install-paimon", "Paimon's Java library and a program around it", &["java", "mvn"], &[], 10,
        &["bash", "compat-tests/lake/paimon-java/run.sh", "build"]),
    command(Phase::Build, "install-rest-catalog", "Iceberg's own REST catalog from Maven artifacts", &["java", "mvn"], &[], 10,
        &["bash", "compat-tests/lake/rest-catalog/run.sh", "build"]),
    command(Phase::Build, "install-go", "the Go suite and its modules, as go.sum says", &["go"], &[], 10,
        &["bash", "compat-tests/go/run.sh", "build"]),
    command(Phase::Build, "build-rdkafka", "librdkafka from source, and its suite", &[], &[], 20,
        &["bash", "compat-tests/rdkafka/run.sh", "build"]),

    command(Phase::Rust, "fmt", "cargo fmt --check", &[], &[], 5,
        &["cargo", "fmt", "--all", "--check"]),
    command(Phase::Rust, "clippy", "clippy without warnings", &[], &[], 40,
        &["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    command(Phase::Rust, "deny", "cargo-deny: bans, licences, sources", &["cargo-deny"], &[], 5,
        &["cargo", "deny", "--workspace", "check", "bans", "licenses", "sources"]),
    Step { name: "rust-tests", about: "unit, property and model tests", phase: Phase::Rust, tools: &[], needs: &["build"],
        minutes: 30, action: Action::CargoTest(&["cargo", "test", "--locked", "--workspace", "--no-fail-fast"]) },

    command(Phase::Clients, "self-test-python", "the comparison of the Python suites notices damage", &[],
        &["install-python"], 1, &["{python}", PYTHON, "--self-test"]),
    command(Phase::Clients, "self-test-node", "the comparison of the Node suites notices damage", &[],
        &["install-node"], 1, &["{node}", NODE, "--self-test"]),
    client("client-confluent-kafka", "librdkafka through Python, all rows once", &[], &["build", "data"],
        &["confluent-kafka"],
        &["{python}", PYTHON, "--client", "confluent-kafka", "--bootstrap", "{bootstrap}", "--http", "{http}",
          "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}", "--full", "lz4"]),
    client("client-kafka-python", "kafka-python", &[], &["build", "data"], &["kafka-python"],
        &["{python}", PYTHON, "--client", "kafka-python", "--bootstrap", "{bootstrap}", "--http", "{http}",
          "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-aiokafka", "aiokafka", &[], &["build", "data"], &["aiokafka"],
        &["{python}", PYTHON, "--client", "aiokafka", "--bootstrap", "{bootstrap}", "--http", "{http}",
          "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-kcat", "kcat", &["kcat"], &["build", "data"], &["kcat"],
        &["{python}", PYTHON, "--client", "kcat", "--bootstrap", "{bootstrap}", "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-kafkajs", "kafkajs", &[], &["build", "data", "install-node"], &["kafkajs"],
        &["{node}", NODE, "--client", "kafkajs", "--bootstrap", "{bootstrap}", "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-platformatic", "@platformatic/kafka", &[], &["build", "data", "install-node"], &["platformatic"],
        &["{node}", NODE, "--client", "platformatic", "--bootstrap", "{bootstrap}", "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-java", "Java kafka-clients", &["java", "mvn"], &["build", "data", "install-java"], &["java"],
        &["bash", "compat-tests/java/run.sh", "--bootstrap", "{bootstrap}", "--broker", "{broker}", "--data", "{data}",
          "--rows", "{rows}"]),
    client("client-kafka-tools", "Kafka's own command-line tools from its jars", &["java", "mvn"],
        &["build", "data", "install-kafka"], &["kafka-tools"],
        &["{python}", "compat-tests/kafka/tools_check.py", "--bootstrap", "{bootstrap}", "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-rdkafka", "librdkafka through rdkafka", &[], &["build", "data", "build-rdkafka"], &["rdkafka"],
        &["bash", "compat-tests/rdkafka/run.sh", "--bootstrap", "{bootstrap}", "--broker", "{broker}", "--data", "{data}",
          "--rows", "{rows}"]),
    client("client-franz-go", "franz-go", &["go"], &["build", "data", "install-go"], &["franz-go"],
        &["bash", "compat-tests/go/run.sh", "--client", "franz-go", "--bootstrap", "{bootstrap}", "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-sarama", "sarama", &["go"], &["build", "data", "install-go"], &["sarama"],
        &["bash", "compat-tests/go/run.sh", "--client", "sarama", "--bootstrap", "{bootstrap}", "--broker", "{broker}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-weir-python", "columns through client/python, against pandas", &[],
        &["build", "data", "install-weir-python"], &["weir-python"],
        &["{python}", "compat-tests/python/columns.py", "--bootstrap", "{bootstrap}", "--data", "{data}", "--rows", "{rows}"]),
    client("client-registry-python", "Schema Registry: confluent-kafka's client and serializers", &[], &["build", "data"],
        &["registry-python"],
        &["{python}", "compat-tests/python/registry.py", "--bootstrap", "{bootstrap}", "--registry", "{registry}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-tables-python", "typed topics of flights, weather and planes in every layout, their files through pyarrow and Polars", &[], &["build", "data"],
        &["tables-python"],
        &["{python}", "compat-tests/python/tables.py", "--data", "{data}", "--rows", "{rows}"]),
    client("client-predicates", "predicates and bombs through both columnar clients and views, in every layout, against DuckDB", &[],
        &["build", "install-weir-python"], &["predicates"],
        &["{python}", "compat-tests/python/predicates.py", "--rust", "{target}/debug/columns", "--rows", "{rows}"]),
    client("client-views", "views to their end: librdkafka in three forms, kafka-python, aiokafka", &["kcat"],
        &["build", "data", "build-rdkafka"],
        &["views-confluent-kafka", "views-kafka-python", "views-aiokafka", "views-kcat", "views-rdkafka"],
        &["{python}", VIEWS, "--client", "confluent-kafka", "--client", "kafka-python", "--client", "aiokafka",
          "--client", "kcat", "--client", "rdkafka", "--data", "{data}", "--rows", "{rows}"]),
    client("client-views-java", "views to their end: Java kafka-clients", &["java", "mvn"], &["build", "data", "install-java"],
        &["views-java"], &["{python}", VIEWS, "--client", "java", "--data", "{data}", "--rows", "{rows}"]),
    client("client-views-go", "views to their end: franz-go and sarama", &["go"], &["build", "data", "install-go"],
        &["views-franz-go", "views-sarama"],
        &["{python}", VIEWS, "--client", "franz-go", "--client", "sarama", "--data", "{data}", "--rows", "{rows}"]),
    client("client-views-node", "views to their end: kafkajs and @platformatic/kafka", &[], &["build", "data", "install-node"],
        &["views-kafkajs", "views-platformatic"],
        &["{python}", VIEWS, "--client", "kafkajs", "--client", "platformatic", "--data", "{data}", "--rows", "{rows}"]),
    client("client-registry-franz-go", "Schema Registry: franz-go's client", &["go"], &["build", "data", "install-go"],
        &["registry-franz-go"],
        &["bash", "compat-tests/go/run.sh", "--client", "registry-franz-go", "--bootstrap", "{bootstrap}",
          "--registry", "{registry}", "--data", "{data}", "--rows", "{rows}"]),
    client("client-registry-node", "Schema Registry: @kafkajs/confluent-schema-registry", &[],
        &["build", "data", "install-node"], &["registry-node"],
        &["{node}", "compat-tests/node/registry.mjs", "--bootstrap", "{bootstrap}", "--registry", "{registry}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-lake", "lake tables of topics, read by DuckDB and pyiceberg", &[], &["build", "data", "install-lake"],
        &["lake"],
        &["{cache}/lake/bin/python", "compat-tests/lake/lake.py", "--bootstrap", "{bootstrap}", "--http", "{http}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-lake-paimon", "Paimon tables of topics, read by pypaimon and Paimon Java", &["java", "mvn"],
        &["build", "data", "install-lake", "install-paimon"], &["lake-paimon"],
        &["{cache}/lake/bin/python", "compat-tests/lake/paimon.py", "--bootstrap", "{bootstrap}", "--http", "{http}",
          "--data", "{data}", "--rows", "{rows}"]),
    client("client-lake-s3", "lake tables in S3, with failures on the way and two writers", &["go"],
        &["build", "data", "install-lake", "install-s3-server"], &["lake-s3"],
        &["{cache}/lake/bin/python", "compat-tests/lake/s3.py", "--data", "{data}", "--rows", "{rows}"]),
    client("client-lake-rest", "Iceberg tables in Iceberg's own REST catalog, with failures on the way and two writers", &["java", "mvn"],
        &["build", "data", "install-lake", "install-rest-catalog"], &["lake-rest"],
        &["{cache}/lake/bin/python", "compat-tests/lake/rest.py", "--data", "{data}", "--rows", "{rows}"]),
    client("client-secured-confluent-kafka", "TLS, SASL and tokens: librdkafka through Python", &[], &["build", "install-python"],
        &["secured-confluent-kafka"], &["{python}", SECURITY, "--client", "confluent-kafka"]),
    client("client-secured-weir-python", "TLS, SASL and tokens: client/python", &[], &["build", "install-weir-python"],
        &["secured-weir-python"], &["{python}", SECURITY, "--client", "weir-python"]),
    client("client-secured-java", "TLS, SASL and tokens: Java kafka-clients", &["java", "mvn"], &["build", "install-python", "install-java"],
        &["secured-java"], &["{python}", SECURITY, "--client", "java"]),
    client("client-secured-franz-go", "TLS, SASL and tokens: franz-go", &["go"], &["build", "install-python", "install-go"],
        &["secured-franz-go"], &["{python}", SECURITY, "--client", "franz-go"]),
    client("client-secured-kafkajs", "TLS, SASL and tokens: kafkajs", &[], &["build", "install-python", "install-node"],
        &["secured-kafkajs"], &["{python}", SECURITY, "--client", "kafkajs"]),
    client("client-secured-kafka-tools", "Kafka's own tools over SASL_SSL: users, access control lists, quotas", &["java", "mvn"],
        &["build", "install-python", "install-kafka"], &["secured-kafka-tools"], &["{python}", "compat-tests/python/secured_tools.py"]),
    client("client-attacks", "replays, floods, lying lengths and bombs beside an honest client", &[], &["build", "install-python"],
        &["attacks"], &["{python}", "compat-tests/python/attacks.py"]),
    client("client-streams", "Kafka Streams, exactly_once_v2, under kill -9 of broker and application", &["java", "mvn"],
        &["build", "install-python", "install-ecosystem"], &["streams"],
        &["{python}", "compat-tests/ecosystem/streams.py", "--weir", "{weir}"]),
    client("client-share", "members of a share group under kill -9 of broker and members", &["java", "mvn"],
        &["build", "install-python", "install-ecosystem"], &["share"],
        &["{python}", "compat-tests/ecosystem/share.py", "--weir", "{weir}", "--rows", "1500", "--kills", "3"]),
    command(Phase::Clients, "self-test-history", "the checker of transactional histories notices damage", &[],
        &["install-python"], 1, &["{python}", "compat-tests/ecosystem/history.py", "--self-test"]),
    client("client-txn-history", "random transactions of librdkafka, Java and franz-go under kill -9, checked against the log",
        &["java", "mvn", "go"], &["build", "install-python", "install-ecosystem", "install-go"], &["txn-history"],
        &["{python}", "compat-tests/ecosystem/history.py", "--weir", "{weir}", "--cycles", "6"]),
    client("client-txn-crash", "transactions of librdkafka under kill -9 of broker and clients", &[], &["build", "install-python"],
        &["txn-crash"], &["{python}", "compat-tests/python/txn_crash.py", "--weir", "{weir}", "--cycles", "10"]),
    client("differential", "the recorded answers of Apache Kafka, replayed", &[], &["build"], &["differential"],
        &["{target}/debug/differential", "replay", "--bootstrap", "{bootstrap}"]),

    command(Phase::Alone, "crash-kill-9", "10 kills under load, synced: nothing lost, doubled or reordered", &[], &["build"], 5,
        &["{target}/debug/crash", "--weir", "{weir}", "--cycles", "10", "--seed", "1"]),
    command(Phase::Alone, "strace-sync", "system calls watched: a sync returns between a record's write and its ack", &["strace"],
        &["build"], 3, &["{target}/debug/strace_check", "--weir", "{weir}"]),
    command(Phase::Alone, "crash-kill-9-os", "the same with durability = os, which survives a kill too", &[], &["build"], 5,
        &["{target}/debug/crash", "--weir", "{weir}", "--cycles", "5", "--seed", "2", "--durability", "os"]),
    command(Phase::Alone, "crash-kill-9-columns", "10 kills of a typed topic that merges store as columns: the same bytes come back",
        &[], &["build"], 5, &["{target}/debug/crash", "--weir", "{weir}", "--cycles", "10", "--seed", "3", "--layout", "column"]),
];

/// How to get a program that a step asks for.
pub fn hint(tool: &str) -> &'static str {
    match tool {
        "kcat" => "apt-get install kcat",
        "strace" => "apt-get install strace",
        "npm" => "apt-get install npm",
        "java" => "apt-get install openjdk-17-jdk-headless",
        "mvn" => "apt-get install maven",
        "go" => "apt-get install golang (1.26 or newer)",
        "python3" => "apt-get install python3 python3-venv",
        "cargo-deny" => "cargo install --locked cargo-deny",
        _ => "install it and put it on the PATH",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_name_earlier_steps_of_no_later_phase() {
        for (index, step) in STEPS.iter().enumerate() {
            for need in step.needs {
                let found = STEPS[..index].iter().find(|earlier| earlier.name == *need);
                assert!(found.is_some_and(|earlier| earlier.phase <= step.phase), "{} needs {need}", step.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..index].iter().all(|earlier| earlier.name != step.name), "{} twice", step.name);
        }
    }
}
