//! Handshakes over real sockets with certificates made on the spot.
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::ClientAuth;

fn certificates(folder: &Path) {
    let args =
        dev::DevArgs { out: folder.to_owned(), hosts: vec!["localhost".to_owned()], clients: vec!["alice".to_owned()] };
    dev::make(&args).unwrap();
}

fn settings(folder: &Path, client_auth: ClientAuth, rules: &str) -> TlsSettings {
    TlsSettings {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: Some(folder.join("ca.pem")),
        client_auth,
        versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
        mapping: PrincipalMapping::parse(rules).unwrap(),
    }
}

fn client(ca: &Path, certificate: Option<&Path>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let chain = vec![CertificateDer::from_pem_file(folder.join("alice.pem")).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(folder.join("alice.key")).unwrap())
                .unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// The server's and the client's view of one connection over which a byte goes to and fro.
async fn connect(
    configs: &TlsConfigs,
    client: TlsConnector,
) -> (Result<Option<Arc<Principal>>, HandshakeError>, std::io::Result<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut stream, principal) = accept(configs, stream).await?;
        stream.write_all(b"x").await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(principal)
    };
    let client = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        stream.read_u8().await?;
        Ok(certificate)
    };
    tokio::join!(server, client)
}

#[tokio::test]
async fn certificate_of_a_client_names_its_principal() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    for (auth, shown, rules, name) in [
        (ClientAuth::Required, true, "DEFAULT", Some("CN=alice")),
        (ClientAuth::Required, true, "RULE:CN=(.*)/$1/U", Some("ALICE")),
        (ClientAuth::Requested, true, "RULE:CN=(.*)/$1/", Some("alice")),
        (ClientAuth::Requested, false, "DEFAULT", None),
        (ClientAuth::None, true, "DEFAULT", None),
    ] {
        let configs = TlsConfigs::load("test", settings(folder.path(), auth, rules)).unwrap();
        let (server, byte) = connect(&configs, client(folder.path(), shown.then_some(folder.path()))).await;
        byte.unwrap();
        assert_eq!(server.unwrap().map(|principal| principal.name.clone()).as_deref(), name, "{auth:?} {rules}");
    }
}

#[tokio::test]
async fn strangers_do_not_get_in() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(folder.path());
    certificates(other.path());
    let required = TlsConfigs::load("test", settings(folder.path(), ClientAuth::Required, "RULE:CN=bob/bob/")).unwrap();
    let (server, byte) = connect(&required, client(folder.path(), None)).await;
    assert!(matches!(server, Err(HandshakeError::Tls(_))) && byte.is_err());
    let (server, byte) = connect(&required, client(folder.path(), Some(other.path()))).await;
    assert!(matches!(server, Err(HandshakeError::Tls(_))) && byte.is_err());
    let (server, byte) = connect(&required, client(folder.path(), Some(folder.path()))).await;
    assert!(matches!(server, Err(HandshakeError::NoRule { subject }) if subject == "CN=alice"));
    assert!(byte.is_err());
    let (_, byte) = connect(&required, client(other.path(), Some(folder.path()))).await;
    assert!(byte.is_err(), "a client that does not trust the CA does not go on");
}

/// A changed file is used for the next handshake; a broken one leaves the old certificate in force.
#[tokio::test]
async fn certificates_are_exchanged_without_a_restart() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(folder.path());
    certificates(other.path());
    let configs = TlsConfigs::load("test", settings(folder.path(), ClientAuth::None, "DEFAULT")).unwrap();
    assert!(!configs.refresh(false));
    let before = connect(&configs, client(folder.path(), None)).await.1.unwrap();
    let install = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::remove_file(&path).unwrap();
        std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
    };
    install("server.pem", b"no certificate");
    assert!(!configs.refresh(false));
    assert_eq!(connect(&configs, client(folder.path(), None)).await.1.unwrap(), before);
    for name in ["server.pem", "server.key"] {
        install(name, &std::fs::read(other.path().join(name)).unwrap());
    }
    assert!(configs.refresh(false));
    let after = connect(&configs, client(other.path(), None)).await.1.unwrap();
    assert_ne!(after, before);
    assert!(!configs.refresh(false) && configs.refresh(true));
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_setting() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let sound = settings(folder.path(), ClientAuth::Required, "DEFAULT");
    let missing = folder.path().join("missing");
    for (change, setting) in [
        (TlsSettings { certificate: missing.clone(), ..sound.clone() }, "ssl.certificate.location"),
        (TlsSettings { key: missing.clone(), ..sound.clone() }, "ssl.key.location"),
        (TlsSettings { client_ca: Some(missing), ..sound.clone() }, "ssl.ca.location"),
        (TlsSettings { key: folder.path().join("ca.pem"), ..sound.clone() }, "ssl.key.location"),
        (TlsSettings { certificate: folder.path().join("server.key"), ..sound.clone() }, "ssl.certificate.location"),
        (TlsSettings { key: folder.path().join("ca.key"), ..sound.clone() }, "belong together"),
    ] {
        let error = change.load().unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    }
    assert!(dev::make(&dev::DevArgs { out: folder.path().to_owned(), hosts: vec![], clients: vec![] }).is_err());
}
