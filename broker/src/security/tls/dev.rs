//! `weir tls dev`: a CA and certificates for trying TLS out, and what to write where.
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;

/// Why there are no certificates.
#[derive(Debug, Error)]
pub enum DevTlsError {
    /// A name that cannot be in a certificate.
    #[error("cannot make a certificate: {0}; names are host names or IP addresses")]
    Certificate(#[from] rcgen::Error),
    /// The folder cannot be written.
    #[error("cannot write {path}: {source}; name another folder with --out")]
    Write {
        /// What.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// There is a CA already; another one would cut off whoever trusts it.
    #[error("{path} exists; remove the folder, or name another one with --out")]
    Exists {
        /// The file.
        path: String,
    },
}

/// Flags of `weir tls dev`.
#[derive(Debug, Clone, clap::Args)]
pub struct DevArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "weir-tls")]
    pub out: PathBuf,
    /// Host names and addresses of the broker; repeat for more
    #[arg(long = "host", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub hosts: Vec<String>,
    /// Name of a client certificate to make; repeat for more
    #[arg(long = "client", value_name = "NAME", default_values = ["client"])]
    pub clients: Vec<String>,
}

/// `weir tls ...`
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TlsCommand {
    /// Make a CA, a certificate for the broker and certificates for clients; for trying things out, not for production
    Dev(DevArgs),
}

impl TlsCommand {
    /// Does it; the result is what to print on standard output.
    pub fn run(&self) -> Result<String, DevTlsError> {
        let TlsCommand::Dev(args) = self;
        make(args)
    }
}

fn params(name: &str, hosts: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// Writes all files.
pub fn make(args: &DevArgs) -> Result<String, DevTlsError> {
    let ca_path = args.out.join("ca.pem");
    if ca_path.exists() {
        return Err(DevTlsError::Exists { path: ca_path.display().to_string() });
    }
    let mut ca = params("weir dev CA", &[])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    write(&ca_path, &ca.self_signed(&ca_key)?.pem(), false)?;
    write(&args.out.join("ca.key"), &ca_key.serialize_pem(), true)?;
    let issuer = Issuer::new(ca, ca_key);
    let server = args.hosts.first().map_or("localhost", String::as_str);
    issue(&args.out, "server", server, &args.hosts, ExtendedKeyUsagePurpose::ServerAuth, &issuer)?;
    for client in &args.clients {
        issue(&args.out, client, client, &[], ExtendedKeyUsagePurpose::ClientAuth, &issuer)?;
    }
    Ok(told(args))
}

fn issue(
    folder: &Path,
    file: &str,
    name: &str,
    hosts: &[String],
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(), DevTlsError> {
    let mut wanted = params(name, hosts)?;
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![usage];
    wanted.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = wanted.signed_by(&key, issuer)?;
    write(&folder.join(format!("{file}.pem")), &certificate.pem(), false)?;
    write(&folder.join(format!("{file}.key")), &key.serialize_pem(), true)
}

#[allow(clippy::disallowed_methods, reason = "files of whoever runs the command, not the broker's data")]
fn write(path: &Path, text: &str, secret: bool) -> Result<(), DevTlsError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| DevTlsError::Write { path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn told(args: &DevArgs) -> String {
    let folder = args.out.canonicalize().unwrap_or_else(|_| args.out.clone());
    let folder = folder.display();
    let client = args.clients.first().map_or("client", String::as_str);
    format!(
        "wrote a CA, a certificate of the broker and of {clients} client(s) to {folder}\n\n\
         Broker (weir.toml):\n\
         \x20 listeners = \"kafka://127.0.0.1:9092,secure://0.0.0.0:9093\"\n\
         \x20 listener.security.protocol.map = \"kafka:PLAINTEXT,secure:SASL_SSL\"   # or secure:SSL with client certificates:\n\
         \x20 ssl.certificate.location = \"{folder}/server.pem\"\n\
         \x20 ssl.key.location = \"{folder}/server.key\"\n\
         \x20 # ssl.client.auth = \"required\"\n\
         \x20 # ssl.ca.location = \"{folder}/ca.pem\"\n\n\
         librdkafka (kcat, Python, Go):\n\
         \x20 security.protocol=ssl\n\
         \x20 ssl.ca.location={folder}/ca.pem\n\
         \x20 ssl.certificate.location={folder}/{client}.pem\n\
         \x20 ssl.key.location={folder}/{client}.key\n\n\
         Java:\n\
         \x20 security.protocol=SSL\n\
         \x20 ssl.truststore.type=PEM\n\
         \x20 ssl.truststore.location={folder}/ca.pem\n\n\
         weir: weir topic list -b localhost:9093 --tls-ca {folder}/ca.pem\n",
        clients = args.clients.len(),
    )
}
