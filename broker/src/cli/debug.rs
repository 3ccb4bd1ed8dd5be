//! `weir debug bundle`: what somebody needs who is to find out what is wrong, in one file, and nothing that is secret.
//!
//! Gathers what it can: a broker that is down, or refuses, is noted in the bundle and ends nothing. It holds names of topics, of users of
//! quotas and of files, settings and figures; no records, keys or passwords. Texts go through [`redacted`] on top of that.
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use regex::Regex;
use serde_json::{Value, json};
use weir_client::admin::Admin;

use super::rest::{Rest, encoded};
use super::{CliError, Context};
use crate::config::{self, Config, HTTP, ServeArgs};
use crate::doctor;

/// Most of a log that is taken: its end.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// Topics whose segments are asked for.
const TOPICS_MAX: usize = 500;

/// Folders of data that are listed.
const FOLDERS_MAX: usize = 10_000;

/// A broker that does not answer holds nobody up for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `debug`.
#[derive(Debug, clap::Args)]
pub struct DebugArgs {
    #[command(subcommand)]
    command: DebugCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DebugCommand {
    /// Gather version, settings, checks, metrics, topics and the end of the log into one file, without secrets
    Bundle(Box<BundleArgs>),
}

#[derive(Debug, clap::Args)]
struct BundleArgs {
    /// File to write [default: weir-debug-SECONDS.tar.gz]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The broker's log, of which the last 4 MiB are taken
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) async fn run(context: &Context, args: DebugArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let DebugCommand::Bundle(args) = args.command;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("weir-debug-{now}.tar.gz")));
    let mut bundle = Bundle::new(now);
    bundle.add("version.txt", Ok(format!("weir {}\ntaken at {now} s since 1970\n", env!("CARGO_PKG_VERSION"))));
    bundle.add("system.txt", Ok(system()));
    let topics = topics(context).await;
    match args.serve.load() {
        Ok(config) => {
            let names = topics.as_ref().map_or(&[][..], Vec::as_slice);
            from_configuration(&mut bundle, context, &config, names).await;
        }
        Err(error) => bundle.add("config.txt", Err(error.to_string())),
    }
    let listed = |topics: Vec<(String, usize)>| {
        let shown = topics.into_iter().map(|(name, partitions)| json!({ "topic": name, "partitions": partitions }));
        format!("{:#}\n", Value::Array(shown.collect()))
    };
    bundle.add("topics.json", topics.map(listed));
    if let Some(log) = &args.log {
        bundle.add("log.txt", end_of(log).map_err(|error| format!("{}: {error}", log.display())));
    }
    let failed = bundle.failed.len();
    let written = bundle.write(&path).map_err(CliError::io(format!("writing {}", path.display())))?;
    let told = match failed {
        0 => String::new(),
        count => format!("; {count} parts could not be had, missing.txt in it tells why"),
    };
    let text =
        format!("{} has {written} files{told}. Look through it before you send it to anybody.\n", path.display());
    out.write_all(text.as_bytes()).map_err(CliError::io("writing to standard output"))
}

/// What the configuration says, and what the broker that it is of answers over HTTP.
async fn from_configuration(bundle: &mut Bundle, context: &Context, config: &Config, topics: &[(String, usize)]) {
    bundle.add("config.txt", Ok(config::shown(config)));
    bundle.add("doctor.txt", Ok(doctor::as_text(&doctor::examine(config))));
    bundle.add("files.txt", Ok(files(Path::new(&config.node.data_dir))));
    let tls = config.security_of(HTTP).is_ok_and(|security| security.tls.is_some());
    let mut address = config.node.http_listen;
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    // Certificates name hosts.
    let host = if address.ip().is_loopback() { "localhost".to_owned() } else { address.ip().to_string() };
    let address = format!("{}{host}:{}", if tls { "https://" } else { "" }, address.port());
    let mut client = context.client.clone();
    client.request_timeout = client.request_timeout.min(PATIENCE);
    let broker = Rest::new("the broker", "flag --http", &address, &client);
    for (name, path) in [("ready.txt", "/readyz"), ("metrics.txt", "/metrics"), ("lake.json", "/lake")] {
        bundle.add(name, broker.text("GET", path).await.map_err(|error| error.to_string()));
    }
    let mut segments = Vec::new();
    for (name, _) in topics.iter().take(TOPICS_MAX) {
        match broker.ask("GET", &format!("/tables/{}", encoded(name)), None).await {
            Ok(table) => segments.push(summary(&table)),
            Err(error) => segments.push(json!({ "topic": name, "error": error.to_string() })),
        }
    }
    bundle.add("segments.json", Ok(format!("{:#}\n", Value::Array(segments))));
}

/// Of a topic's segments: how many, how large, of which forms.
fn summary(table: &Value) -> Value {
    let segments = table["segments"].as_array().map_or(&[][..], Vec::as_slice);
    let mut forms = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for segment in segments {
        let (count, bytes) = forms.entry(segment["form"].as_str().unwrap_or("?")).or_default();
        *count += 1;
        *bytes += segment["bytes"].as_u64().unwrap_or(0);
    }
    let forms: serde_json::Map<String, Value> = forms
        .into_iter()
        .map(|(form, (count, bytes))| (form.to_owned(), json!({ "segments": count, "bytes": bytes })))
        .collect();
    json!({ "topic": table["topic"], "state": table["state"], "versions": table["versions"].as_array().map_or(0, Vec::len), "forms": forms })
}

/// Names and partitions.
async fn topics(context: &Context) -> Result<Vec<(String, usize)>, String> {
    let mut config = context.client.clone();
    config.request_timeout = config.request_timeout.min(PATIENCE);
    let client = weir_client::Client::new(config).map_err(|error| error.to_string())?;
    let listed = Admin::new(client).list_topics().await.map_err(|error| error.to_string())?;
    Ok(listed.into_iter().map(|(name, topic)| (name, topic.partitions.len())).collect())
}

fn system() -> String {
    let mut text = String::new();
    for path in ["/proc/version", "/proc/loadavg", "/proc/uptime", "/proc/meminfo", "/proc/self/limits", "/proc/mounts"]
    {
        let found = std::fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        let _ = writeln!(text, "== {path}\n{found}"); // a String takes everything
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = writeln!(text, "== processors\n{cores}");
    text
}

/// Files and bytes of each folder of the data, no contents.
fn files(data: &Path) -> String {
    let (mut text, mut folders) = (String::new(), vec![data.to_owned()]);
    let mut listed = 0;
    while let Some(folder) = folders.pop() {
        listed += 1;
        if listed > FOLDERS_MAX {
            text.push_str("more folders are not listed\n");
            break;
        }
        let (mut count, mut bytes) = (0u64, 0u64);
        match std::fs::read_dir(&folder) {
            Err(error) => {
                let _ = writeln!(text, "{}: {error}", folder.display());
                continue;
            }
            Ok(entries) => {
                for entry in entries.flatten() {
                    match entry.metadata() {
                        Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                        Ok(metadata) => (count, bytes) = (count + 1, bytes + metadata.len()),
                        Err(_) => {} // it went meanwhile
                    }
                }
            }
        }
        let _ = writeln!(text, "{count:>8} files {bytes:>16} bytes  {}", folder.display());
    }
    text
}

fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text without what looks like a secret: credentials and parameters of URLs, `Authorization`, tokens, values of passwords and keys.
fn redacted(text: &str) -> String {
    const SHAPES: [(&str, &str); 5] = [
        (r"(?i)(://)[^/\s@]+@", "${1}***@"),
        (r#"(?i)(https?://[^\s"'?]+\?)[^\s"']+"#, "${1}***"),
        (r"(?i)\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{6,}", "${1} ***"),
        (r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9._-]+", "***"),
        (r#"(?i)\b([a-z_.-]*(?:password|secret|token|credential)[a-z_.-]*["']?\s*[=:]\s*["']?)[^\s"',}]+"#, "${1}***"),
    ];
    let mut text = text.to_owned();
    for (shape, kept) in SHAPES {
        // The shapes are constants; a test has them all.
        let Ok(shape) = Regex::new(shape) else { return String::new() };
        text = shape.replace_all(&text, kept).into_owned();
    }
    text
}

/// What was gathered.
struct Bundle {
    taken_at: u64,
    parts: Vec<(String, String)>,
    failed: Vec<String>,
}

impl Bundle {
    fn new(taken_at: u64) -> Bundle {
        Bundle { taken_at, parts: Vec::new(), failed: Vec::new() }
    }

    fn add(&mut self, name: &str, part: Result<String, String>) {
        match part {
            Ok(text) => self.parts.push((name.to_owned(), redacted(&text))),
            Err(why) => self.failed.push(redacted(&format!("{name}: {why}\n"))),
        }
    }

    /// Writes a tar.gz for its owner only; returns the number of files in it.
    fn write(mut self, path: &Path) -> std::io::Result<usize> {
        if !self.failed.is_empty() {
            self.parts.push(("missing.txt".to_owned(), self.failed.concat()));
        }
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        for (name, text) in &self.parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(self.taken_at);
            archive.append_data(&mut header, format!("weir-debug/{name}"), text.as_bytes())?;
        }
        archive.into_inner()?.finish()?;
        Ok(self.parts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_left_out_and_the_rest_is_kept() {
        const CANARY: &str = "s3cr3tCanary7341";
        for (text, kept) in [
            (format!("https://u:{CANARY}@host/keys"), "host/keys"),
            (format!("url = \"https://host/keys?token={CANARY}\""), "https://host/keys?"),
            (format!("Authorization: Bearer {CANARY}"), "Bearer"),
            (format!("authorization: basic {CANARY}=="), "basic"),
            (format!("token eyJhbGciOiJub25lIn0.{CANARY}.x"), "token"),
            (format!("password={CANARY}, user=alice"), "user=alice"),
            (format!("{{\"sasl_password\": \"{CANARY}\", \"a\": 1}}"), "\"a\": 1"),
        ] {
            let shown = redacted(&text);
            assert!(!shown.contains(CANARY) && shown.contains(kept), "{text} became {shown}");
        }
        let plain = "weir_ready 1\nlisteners = \"kafka://127.0.0.1:9092\"\nssl.key.location = \"/etc/weir/key.pem\"\n";
        assert_eq!(redacted(plain), plain);
    }

    #[test]
    fn segments_are_summed_up_by_form() {
        let segment = |form: &str, bytes: u64| json!({ "form": form, "bytes": bytes });
        let table = json!({
            "topic": "t", "state": "typed", "versions": [{}, {}],
            "segments": [segment("rows", 5), segment("columns", 7), segment("rows", 6)],
        });
        let wanted = json!({ "rows": { "segments": 2, "bytes": 11 }, "columns": { "segments": 1, "bytes": 7 } });
        assert_eq!((&summary(&table)["forms"], &summary(&table)["versions"]), (&wanted, &json!(2)));
    }
}
