//! `weir registry`: subjects, schemas, compatibility and modes of a Schema Registry, over its REST interface.
//!
//! Works against any registry of that interface.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::output::{Format, OutputArgs, print_list, print_value, write_all};
use super::rest::{Rest, encoded};
use super::{CliError, Context};

/// Flags of `registry`.
#[derive(Debug, clap::Args)]
pub struct RegistryArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Address of the Schema Registry
    // An id of its own: `weir` without a command serves, and has a flag of this name too.
    #[arg(
        id = "registry_address",
        long = "registry",
        global = true,
        value_name = "[https://]HOST:PORT",
        env = "WEIR_REGISTRY",
        default_value = "127.0.0.1:8081"
    )]
    registry: String,
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RegistryCommand {
    /// List subjects
    #[command(visible_alias = "ls")]
    Subjects {
        /// Show soft-deleted subjects too
        #[arg(long)]
        deleted: bool,
    },
    /// List the versions of a subject
    Versions {
        /// The subject, such as flights-value
        subject: String,
    },
    /// Print a schema: of a subject (the latest, or --version), or of an id
    Get {
        /// The subject
        #[arg(required_unless_present = "id", conflicts_with = "id")]
        subject: Option<String>,
        /// Version of the subject
        #[arg(short, long, default_value = "latest")]
        version: String,
        /// Id of the schema, as serializers write it into records
        #[arg(long)]
        id: Option<u32>,
    },
    /// Register a schema as the next version of a subject
    Register(SchemaArgs),
    /// Tell whether a schema could be registered, and why not
    Check(SchemaArgs),
    /// Show or set the compatibility level of a subject, or of all
    Config {
        /// The subject; without it, all of them
        subject: Option<String>,
        /// NONE, BACKWARD, FORWARD, FULL, or one of the latter with _TRANSITIVE
        #[arg(long, value_name = "LEVEL")]
        set: Option<String>,
        /// Go back to what is inherited
        #[arg(long, conflicts_with = "set")]
        reset: bool,
    },
    /// Show or set the mode of a subject, or of all
    Mode {
        /// The subject; without it, all of them
        subject: Option<String>,
        /// READWRITE, READONLY, READONLY_OVERRIDE or IMPORT
        #[arg(long, value_name = "MODE")]
        set: Option<String>,
        /// Set IMPORT although there are schemas
        #[arg(long, requires = "set")]
        force: bool,
    },
    /// Delete a subject or one of its versions; schemas can still be read by id unless it is permanent
    #[command(visible_alias = "rm")]
    Delete {
        /// The subject
        subject: String,
        /// Only this version
        #[arg(short, long)]
        version: Option<String>,
        /// Delete for good what is soft-deleted already
        #[arg(long)]
        permanent: bool,
    },
}

#[derive(Debug, clap::Args)]
struct SchemaArgs {
    /// The subject, such as flights-value
    subject: String,
    /// File with the schema; `-` reads standard input
    file: PathBuf,
    /// AVRO, JSON or PROTOBUF [default: by the file's name: .avsc, .json, .proto]
    #[arg(short, long, value_name = "TYPE")]
    r#type: Option<String>,
    /// What the schema refers to, as NAME=SUBJECT:VERSION; repeat for more
    #[arg(short, long, value_name = "NAME=SUBJECT:VERSION", value_parser = parse_reference)]
    reference: Vec<(String, String, i64)>,
    /// Normalise the schema first
    #[arg(long)]
    normalize: bool,
}

fn parse_reference(text: &str) -> Result<(String, String, i64), String> {
    let parts = text.rsplit_once(':').and_then(|(front, version)| {
        let (name, subject) = front.split_once('=')?;
        let version = if version == "latest" { -1 } else { version.parse().ok()? };
        Some((name.to_owned(), subject.to_owned(), version))
    });
    parts.ok_or_else(|| "write NAME=SUBJECT:VERSION, such as common.proto=common:1".to_owned())
}

pub(crate) async fn run(context: &Context, args: RegistryArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let rest = Rest::new("the Schema Registry", "flag --registry", &args.registry, &context.client);
    let format = args.output.output;
    match args.command {
        RegistryCommand::Subjects { deleted } => subjects(&rest, deleted, format, out).await,
        RegistryCommand::Versions { subject } => versions(&rest, &subject, format, out).await,
        RegistryCommand::Get { subject, version, id } => {
            get(&rest, subject.as_deref(), &version, id, format, out).await
        }
        RegistryCommand::Register(args) => {
            let path = format!("/subjects/{}/versions?normalize={}", encoded(&args.subject), args.normalize);
            let answer = rest.ask("POST", &path, Some(body(&args)?)).await?;
            match format {
                Format::Table => {
                    let version = answer["version"].as_u64().map_or_else(String::new, |v| format!(" version {v}"));
                    write_all(out, &format!("{}{version} has id {}\n", args.subject, answer["id"]))
                }
                Format::Json | Format::Yaml => print_value(out, format, &answer),
            }
        }
        RegistryCommand::Check(args) => check(&rest, &args, format, out).await,
        RegistryCommand::Config { subject, set, reset } => {
            let path = setting_path("/config", subject.as_deref());
            let answer = match (set, reset) {
                (Some(level), _) => rest.ask("PUT", &path, Some(json!({ "compatibility": level }))).await?,
                (None, true) => rest.ask("DELETE", &path, None).await?,
                (None, false) => rest.ask("GET", &format!("{path}?defaultToGlobal=true"), None).await?,
            };
            print_value(out, format, &answer)
        }
        RegistryCommand::Mode { subject, set, force } => {
            let path = setting_path("/mode", subject.as_deref());
            let answer = match set {
                Some(mode) => rest.ask("PUT", &format!("{path}?force={force}"), Some(json!({ "mode": mode }))).await?,
                None => rest.ask("GET", &format!("{path}?defaultToGlobal=true"), None).await?,
            };
            print_value(out, format, &answer)
        }
        RegistryCommand::Delete { subject, version, permanent } => {
            let of = version.map_or_else(String::new, |version| format!("/versions/{}", encoded(&version)));
            let path = format!("/subjects/{}{of}?permanent={permanent}", encoded(&subject));
            let answer = rest.ask("DELETE", &path, None).await?;
            match format {
                Format::Table => write_all(out, &format!("deleted {subject}: {answer}\n")),
                Format::Json | Format::Yaml => print_value(out, format, &answer),
            }
        }
    }
}

fn setting_path(resource: &str, subject: Option<&str>) -> String {
    subject.map_or_else(|| resource.to_owned(), |subject| format!("{resource}/{}", encoded(subject)))
}

async fn subjects(rest: &Rest, deleted: bool, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let names = rest.ask("GET", &format!("/subjects?deleted={deleted}"), None).await?;
    let latest = rest.ask("GET", &format!("/schemas?latestOnly=true&deleted={deleted}"), None).await?;
    let items: Vec<Value> = names
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| {
            let newest = latest.as_array().into_iter().flatten().find(|schema| &schema["subject"] == name);
            let newest = newest.unwrap_or(&Value::Null);
            json!({ "subject": name, "version": newest["version"], "id": newest["id"], "type": kind(newest) })
        })
        .collect();
    let columns = [("subject", "SUBJECT"), ("version", "LATEST"), ("id", "ID"), ("type", "TYPE")];
    print_list(out, format, &columns, &items)
}

/// Avro goes without saying in answers.
fn kind(schema: &Value) -> Value {
    if schema.is_null() { Value::Null } else { json!(schema["schemaType"].as_str().unwrap_or("AVRO")) }
}

async fn versions(rest: &Rest, subject: &str, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let path = format!("/subjects/{}/versions", encoded(subject));
    let numbers = rest.ask("GET", &path, None).await?;
    let mut items = Vec::new();
    for number in numbers.as_array().into_iter().flatten() {
        let schema = rest.ask("GET", &format!("{path}/{number}"), None).await?;
        items.push(json!({
            "version": number,
            "id": schema["id"],
            "type": kind(&schema),
            "references": schema["references"].as_array().map_or(0, Vec::len),
            "schema": schema["schema"],
        }));
    }
    let columns = [("version", "VERSION"), ("id", "ID"), ("type", "TYPE"), ("references", "REFERENCES")];
    print_list(out, format, &columns, &items)
}

async fn get(
    rest: &Rest,
    subject: Option<&str>,
    version: &str,
    id: Option<u32>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let path = match (id, subject) {
        (Some(id), _) => format!("/schemas/ids/{id}"),
        (None, subject) => format!("/subjects/{}/versions/{}", encoded(subject.unwrap_or_default()), encoded(version)),
    };
    let answer = rest.ask("GET", &path, None).await?;
    match format {
        Format::Table => write_all(out, &format!("{}\n", answer["schema"].as_str().unwrap_or_default().trim_end())),
        Format::Json | Format::Yaml => print_value(out, format, &answer),
    }
}

/// Fails if the schema is not compatible, so that scripts notice.
async fn check(rest: &Rest, args: &SchemaArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let subject = encoded(&args.subject);
    let path = format!("/compatibility/subjects/{subject}/versions?verbose=true&normalize={}", args.normalize);
    let answer = rest.ask("POST", &path, Some(body(args)?)).await?;
    let compatible = answer["is_compatible"] == json!(true);
    match format {
        Format::Table if compatible => write_all(out, "compatible\n")?,
        Format::Table => {}
        Format::Json | Format::Yaml => print_value(out, format, &answer)?,
    }
    if compatible {
        return Ok(());
    }
    let messages = answer["messages"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Err(CliError::Invalid {
        setting: "schema",
        value: args.file.display().to_string(),
        reason: format!("is not compatible with {}:\n  {}", args.subject, messages.collect::<Vec<_>>().join("\n  ")),
        fix: "change the schema, or the level with `weir registry config SUBJECT --set LEVEL`".into(),
    })
}

fn body(args: &SchemaArgs) -> Result<Value, CliError> {
    let name = args.file.display().to_string();
    let text = if args.file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(CliError::io(format!("reading the schema {name}")))?;
    let kind = match (&args.r#type, args.file.extension().and_then(|extension| extension.to_str())) {
        (Some(kind), _) => kind.to_ascii_uppercase(),
        (None, Some("avsc")) => "AVRO".to_owned(),
        (None, Some("json")) => "JSON".to_owned(),
        (None, Some("proto")) => "PROTOBUF".to_owned(),
        (None, _) => {
            return Err(CliError::Invalid {
                setting: "--type",
                value: name,
                reason: "does not end in .avsc, .json or .proto".into(),
                fix: "say what it is with --type AVRO, JSON or PROTOBUF".into(),
            });
        }
    };
    let mut body = Map::from_iter([("schema".to_owned(), json!(text)), ("schemaType".to_owned(), json!(kind))]);
    if !args.reference.is_empty() {
        let references = args.reference.iter();
        let references: Vec<Value> = references
            .map(|(name, subject, version)| json!({ "name": name, "subject": subject, "version": version }))
            .collect();
        body.insert("references".to_owned(), references.into());
    }
    Ok(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_paths_are_written_as_the_registry_takes_them() {
        let parsed = parse_reference("a.b=c.proto=common:x:3");
        assert_eq!(parsed, Ok(("a.b".to_owned(), "c.proto=common:x".to_owned(), 3)));
        assert_eq!(parse_reference("n=s:latest").unwrap().2, -1);
        assert!(parse_reference("n=s").is_err() && parse_reference("n:1").is_err());
    }
}
