//! What protects each listener, from the settings of all and those of its own.
use std::path::PathBuf;
use std::time::Duration;

use weir_protocol::sasl::Mechanism;

use super::declare::Section;
use super::settings::SecuritySettings;
use super::values::{ClientAuth, SecurityProtocol, SettingValue, ValueError};
use super::{Config, ConfigProblem};
use crate::security::tls::TlsSettings;

/// The HTTP listener's name in `listener.security.protocol.map`.
pub const HTTP: &str = "http";
/// The Schema Registry's.
pub const REGISTRY: &str = "registry";

const OF_LISTENER: &str = "listener.name.";
const MAP: &str = "listener.security.protocol.map";

/// Settings that a listener can have of its own.
const PER_LISTENER: &[&str] = &[
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.ca.location",
    "ssl.client.auth",
    "ssl.enabled.protocols",
    "ssl.principal.mapping.rules",
    "sasl.enabled.mechanisms",
    "connections.max.reauth.ms",
];

/// SASL on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslSettings {
    /// Offered, by preference.
    pub mechanisms: Vec<Mechanism>,
    /// Longest time until a client authenticates again.
    pub max_reauth: Option<Duration>,
}

/// How a listener is protected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListenerSecurity {
    /// None = plain text.
    pub tls: Option<TlsSettings>,
    /// None = clients do not authenticate, or with their certificate.
    pub sasl: Option<SaslSettings>,
}

impl ListenerSecurity {
    /// Whether everybody who gets through has proved who they are.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        self.sasl.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required)
    }
}

impl Config {
    /// Sets `listener.name.NAME.SETTING`; None = the key is no such setting.
    pub(super) fn set_of_listener(&mut self, key: &str, text: &str) -> Option<Result<(), ValueError>> {
        let (listener, setting) = key.strip_prefix(OF_LISTENER)?.split_once('.')?;
        if listener.is_empty() || !PER_LISTENER.contains(&setting) {
            return None;
        }
        let taken = SecuritySettings::default().set(setting, text)?;
        Some(taken.map(|()| {
            let key = format!("{OF_LISTENER}{}.{setting}", listener.to_ascii_lowercase());
            self.listener_settings.insert(key, text.to_owned());
        }))
    }

    fn settings_of(&self, listener: &str) -> SecuritySettings {
        let mut settings = self.security.clone();
        for setting in PER_LISTENER {
            if let Some(own) = self.listener_settings.get(&format!("{OF_LISTENER}{listener}.{setting}")) {
                // Checked when it was set.
                let _ = settings.set(setting, own);
            }
        }
        settings
    }

    fn protocol_of(&self, listener: &str) -> SecurityProtocol {
        let mapped = self.security.protocols.0.iter().find(|(name, _)| name == listener).map(|(_, protocol)| *protocol);
        mapped.or_else(|| SecurityProtocol::parse(listener).ok()).unwrap_or(SecurityProtocol::Plaintext)
    }

    /// How the listener with this name is protected.
    pub fn security_of(&self, listener: &str) -> Result<ListenerSecurity, ConfigProblem> {
        let protocol = self.protocol_of(listener);
        let settings = self.settings_of(listener);
        let tls = if protocol.is_tls() { Some(tls_settings(listener, &settings)?) } else { None };
        let in_clear = tls.is_none() && !self.node.insecure;
        let sasl = match protocol.is_sasl() {
            false => None,
            true if self.is_http(listener) => Some(self.http_credentials(listener, &settings, in_clear)?),
            true => Some(self.sasl_settings(listener, &settings, in_clear)?),
        };
        Ok(ListenerSecurity { tls, sasl })
    }

    fn is_http(&self, listener: &str) -> bool {
        [HTTP, REGISTRY].contains(&listener)
    }

    /// HTTP Basic for users with passwords, Bearer for tokens: both send secrets as they are, whatever the mechanism.
    fn http_credentials(
        &self,
        listener: &str,
        settings: &SecuritySettings,
        in_clear: bool,
    ) -> Result<SaslSettings, ConfigProblem> {
        let address = if listener == HTTP { Some(self.node.http_listen) } else { self.node.registry_listen.0 };
        if in_clear && address.is_some_and(|address| !address.ip().is_loopback()) {
            let problem = format!("the listener `{listener}` would take passwords and tokens in clear text");
            let fix = format!(
                "Set {MAP} = {listener}:SASL_SSL (`weir tls dev` makes certificates), listen on 127.0.0.1, or set insecure = true (flag --insecure) where the network is trusted"
            );
            return Err(ConfigProblem::Unsound { key: MAP, problem, fix });
        }
        let mechanisms = settings.mechanisms.0.clone();
        if mechanisms.contains(&Mechanism::OauthBearer) {
            check_oauth(&self.security)?;
        }
        Ok(SaslSettings { mechanisms, max_reauth: None })
    }

    fn sasl_settings(
        &self,
        listener: &str,
        settings: &SecuritySettings,
        in_clear: bool,
    ) -> Result<SaslSettings, ConfigProblem> {
        const KEY: &str = "sasl.enabled.mechanisms";
        let mut mechanisms = settings.mechanisms.0.clone();
        let chosen = self.sources.contains_key(KEY)
            || self.listener_settings.contains_key(&format!("{OF_LISTENER}{listener}.{KEY}"));
        if in_clear {
            if let Some(mechanism) = mechanisms.iter().find(|mechanism| mechanism.reveals_secrets() && chosen) {
                let problem = format!("{mechanism} would send secrets in clear text through the listener `{listener}`");
                let fix = format!(
                    "Set {MAP} = {listener}:SASL_SSL (`weir tls dev` makes certificates), use SCRAM-SHA-512, or set insecure = true (flag --insecure) where the network is trusted"
                );
                return Err(ConfigProblem::Unsound { key: KEY, problem, fix });
            }
            mechanisms.retain(|mechanism| !mechanism.reveals_secrets());
        }
        if mechanisms.is_empty() {
            let problem = format!("the listener `{listener}` asks for SASL and offers no mechanism");
            let fix = "Use SCRAM-SHA-512,SCRAM-SHA-256".to_owned();
            return Err(ConfigProblem::Unsound { key: KEY, problem, fix });
        }
        if mechanisms.contains(&Mechanism::OauthBearer) {
            check_oauth(&self.security)?;
        }
        let max_reauth = Some(settings.reauth).filter(|reauth| !reauth.is_zero());
        Ok(SaslSettings { mechanisms, max_reauth })
    }

    /// Refuses a listener that other machines can reach and that lets everybody in, unless the user says so.
    pub(super) fn refuse_strangers(
        &self,
        key: &'static str,
        listener: &str,
        address: &str,
        port: u16,
        security: &ListenerSecurity,
    ) -> Result<(), ConfigProblem> {
        if self.node.insecure || security.authenticates() {
            return Ok(());
        }
        let problem = format!("{address} can be reached from other machines and nothing authenticates clients");
        let secure = match listener {
            HTTP | REGISTRY => {
                format!(
                    "{listener}:SASL_SSL, or {listener}:SSL with listener.name.{listener}.ssl.client.auth = required"
                )
            }
            _ => format!("{listener}:SASL_SSL"),
        };
        let fix = format!(
            "Listen on 127.0.0.1:{port}, set {MAP} = {secure} (`weir tls dev` makes certificates), or set insecure = true \
             (flag --insecure) where the network is trusted"
        );
        Err(ConfigProblem::Unsound { key, problem, fix })
    }

    /// The HTTP listener and the Schema Registry's: TLS or not, and the same rule about strangers.
    pub(super) fn check_http_listeners(&self) -> Result<(), ConfigProblem> {
        let http = Some(("http.listen", HTTP, self.node.http_listen));
        let registry = self.node.registry_listen.0.map(|address| ("registry.listen", REGISTRY, address));
        for (key, name, address) in [http, registry].into_iter().flatten() {
            let security = self.security_of(name)?;
            if !address.ip().is_loopback() {
                self.refuse_strangers(key, name, &address.to_string(), address.port(), &security)?;
            }
        }
        if let Some(taken) =
            self.node.listeners.0.iter().find(|listener| [HTTP, REGISTRY].contains(&listener.name.as_str()))
        {
            let problem = format!("`{}` is the name of another listener of weir", taken.name);
            let fix = format!("Call it kafka-{}, for example", taken.name);
            return Err(ConfigProblem::Unsound { key: "listeners", problem, fix });
        }
        let known =
            |name: &str| [HTTP, REGISTRY].contains(&name) || self.node.listeners.0.iter().any(|l| l.name == name);
        let mapped = self.security.protocols.0.iter().map(|(name, _)| (MAP, name.as_str()));
        let own = self.listener_settings.keys().filter_map(|key| key.strip_prefix(OF_LISTENER)?.split('.').next());
        if let Some((key, stray)) = mapped.chain(own.map(|name| ("listeners", name))).find(|(_, name)| !known(name)) {
            let problem = format!("there is no listener named `{stray}`");
            let fix = format!("Add {stray}://HOST:PORT to listeners, or name one of them");
            return Err(ConfigProblem::Unsound { key, problem, fix });
        }
        Ok(())
    }
}

fn tls_settings(listener: &str, settings: &SecuritySettings) -> Result<TlsSettings, ConfigProblem> {
    let missing = |key: &'static str, what: &str| ConfigProblem::Unsound {
        key,
        problem: format!("the listener `{listener}` needs {what}"),
        fix: "Name a PEM file; `weir tls dev` makes some for trying things out".to_owned(),
    };
    let path = |text: &str| Some(PathBuf::from(text.trim())).filter(|path| !path.as_os_str().is_empty());
    let certificate =
        path(&settings.ssl_certificate).ok_or_else(|| missing("ssl.certificate.location", "a certificate for TLS"))?;
    let key =
        path(&settings.ssl_key).ok_or_else(|| missing("ssl.key.location", "the private key of its certificate"))?;
    let client_ca = path(&settings.ssl_ca);
    if settings.ssl_client_auth != ClientAuth::None && client_ca.is_none() {
        return Err(missing("ssl.ca.location", "the CAs of client certificates"));
    }
    let mut versions = Vec::new();
    if settings.ssl_versions.v1_3 {
        versions.push(&rustls::version::TLS13);
    }
    if settings.ssl_versions.v1_2 {
        versions.push(&rustls::version::TLS12);
    }
    let (client_auth, mapping) = (settings.ssl_client_auth, settings.ssl_mapping.clone());
    Ok(TlsSettings { certificate, key, client_ca, client_auth, versions, mapping })
}

fn check_oauth(settings: &SecuritySettings) -> Result<(), ConfigProblem> {
    let needs = [
        (
            "sasl.oauthbearer.jwks.endpoint.url",
            &settings.jwks_url,
            "the keys of tokens",
            "https://ISSUER/.well-known/jwks.json or file:///PATH",
        ),
        (
            "sasl.oauthbearer.expected.audience",
            &settings.oauth_audience,
            "the audience of tokens",
            "the name that the issuer gives this broker",
        ),
        (
            "sasl.oauthbearer.expected.issuer",
            &settings.oauth_issuer,
            "the issuer of tokens",
            "what its tokens have in `iss`",
        ),
    ];
    for (key, value, what, fix) in needs {
        if value.trim().is_empty() {
            let problem = format!("OAUTHBEARER is enabled and needs {what}");
            return Err(ConfigProblem::Unsound { key, problem, fix: format!("Use {fix}") });
        }
    }
    let url = settings.jwks_url.trim();
    if !["https://", "file:///"].iter().any(|scheme| url.starts_with(scheme)) {
        let problem = format!("`{url}` is neither https:// nor file:///");
        let fix = "Keys that anybody on the way could replace protect nothing: use one of these".to_owned();
        return Err(ConfigProblem::Unsound { key: "sasl.oauthbearer.jwks.endpoint.url", problem, fix });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::load::load_from;
    use super::super::{Overrides, Source};
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let flags = pairs.iter().map(|(k, v)| ("--set".to_owned(), (*k).to_owned(), (*v).to_owned())).collect();
        load_from(&Overrides { file: None, flags }, &[]).map_err(|error| error.to_string())
    }

    const FILES: [(&str, &str); 2] = [("ssl.certificate.location", "/c.pem"), ("ssl.key.location", "/k.pem")];

    #[test]
    fn listeners_have_the_protocol_of_their_name_or_of_the_map() {
        let listeners = ("listeners", "kafka://127.0.0.1:1,sasl_ssl://127.0.0.1:2,third://127.0.0.1:3");
        let config = load(&[listeners, ("listener.security.protocol.map", "THIRD:ssl"), FILES[0], FILES[1]]).unwrap();
        let open = config.listeners().unwrap();
        assert_eq!(open[0].security, ListenerSecurity::default());
        assert!(open[1].security.tls.is_some() && open[1].security.sasl.is_some());
        assert!(open[2].security.tls.is_some() && open[2].security.sasl.is_none());
    }

    #[test]
    fn a_listener_has_settings_of_its_own() {
        let own = ("listener.name.ssl.ssl.client.auth", "required");
        let files = [FILES[0], FILES[1], ("ssl.ca.location", "/ca.pem")];
        let listeners = ("listeners", "kafka://127.0.0.1:1,ssl://0.0.0.0:2");
        let config = load(&[&files[..], &[listeners, own]].concat()).unwrap();
        let security = &config.listeners().unwrap()[1].security;
        assert_eq!(security.tls.as_ref().unwrap().client_auth, ClientAuth::Required);
        assert!(super::super::shown(&config).contains("listener.name.ssl.ssl.client.auth = \"required\""));
        assert!(load(&[("listener.name.kafka.log.dir", "x")]).unwrap_err().contains("unknown setting"));
        assert!(
            load(&[("listener.name.stray.ssl.client.auth", "none")]).unwrap_err().contains("no listener named `stray`")
        );
    }

    #[test]
    fn reachable_listeners_need_clients_that_authenticate() {
        let reachable = |map: &'static str| {
            [("listeners", "kafka://0.0.0.0:1"), ("listener.security.protocol.map", map), FILES[0], FILES[1]]
        };
        for (map, sound) in
            [("kafka:PLAINTEXT", false), ("kafka:SSL", false), ("kafka:SASL_PLAINTEXT", true), ("kafka:SASL_SSL", true)]
        {
            let loaded = load(&reachable(map));
            assert_eq!(loaded.is_ok(), sound, "{map}");
            if let Err(error) = loaded {
                assert!(error.contains("kafka:SASL_SSL") && error.contains("--insecure"), "{error}");
            }
        }
        let required = ("ssl.client.auth", "required");
        assert!(load(&[&reachable("kafka:SSL")[..], &[required]].concat()).unwrap_err().contains("ssl.ca.location"));
        load(&[&reachable("kafka:SSL")[..], &[required, ("ssl.ca.location", "/ca")]].concat()).unwrap();
    }

    #[test]
    fn http_and_registry_take_tls_with_client_certificates_or_credentials() {
        for (key, name) in [("http.listen", "http"), ("registry.listen", "registry")] {
            let (map, auth) = (format!("{name}:SSL"), format!("listener.name.{name}.ssl.client.auth"));
            let tls = [
                (key, "0.0.0.0:7000"),
                ("listener.security.protocol.map", map.as_str()),
                FILES[0],
                FILES[1],
                ("ssl.ca.location", "/ca"),
            ];
            let error = load(&tls).unwrap_err();
            assert!(error.contains(key) && error.contains(&auth), "{error}");
            load(&[&tls[..], &[(auth.as_str(), "required")]].concat()).unwrap();
            let protocol = |protocol: &str| format!("{name}:{protocol}");
            let listens = |address: &'static str, protocol: &str| {
                load(&[(key, address), ("listener.security.protocol.map", protocol), FILES[0], FILES[1]])
            };
            listens("0.0.0.0:7000", &protocol("SASL_SSL")).unwrap();
            listens("127.0.0.1:7000", &protocol("SASL_PLAINTEXT")).unwrap();
            let error = listens("0.0.0.0:7000", &protocol("SASL_PLAINTEXT")).unwrap_err();
            assert!(error.contains("clear text") && error.contains("SASL_SSL"), "{error}");
            assert!(
                load(&[("listeners", format!("{name}://127.0.0.1:1").as_str())])
                    .unwrap_err()
                    .contains("another listener")
            );
        }
    }

    #[test]
    fn secrets_do_not_cross_the_wire_in_clear_text_unless_the_user_says_so() {
        let map = ("listener.security.protocol.map", "kafka:SASL_PLAINTEXT");
        let offered = |config: &Config| config.listeners().unwrap()[0].security.sasl.clone().unwrap().mechanisms;
        assert!(!offered(&load(&[map]).unwrap()).contains(&Mechanism::Plain));
        assert!(offered(&load(&[map, ("insecure", "true")]).unwrap()).contains(&Mechanism::Plain));
        let error = load(&[map, ("sasl.enabled.mechanisms", "PLAIN")]).unwrap_err();
        assert!(error.contains("clear text") && error.contains("SASL_SSL"), "{error}");
    }

    #[test]
    fn tokens_need_keys_an_audience_and_an_issuer() {
        let map = [
            ("listener.security.protocol.map", "kafka:SASL_SSL"),
            FILES[0],
            FILES[1],
            ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ];
        let oauth = [
            ("sasl.oauthbearer.jwks.endpoint.url", "https://issuer/keys"),
            ("sasl.oauthbearer.expected.audience", "weir"),
            ("sasl.oauthbearer.expected.issuer", "https://issuer"),
        ];
        load(&[&map[..], &oauth].concat()).unwrap();
        for without in 0..oauth.len() {
            let some: Vec<_> = map
                .iter()
                .chain(oauth.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, pair)| pair))
                .copied()
                .collect();
            assert!(load(&some).unwrap_err().contains(oauth[without].0));
        }
        let http = ("sasl.oauthbearer.jwks.endpoint.url", "http://issuer/keys");
        assert!(load(&[&map[..], &oauth, &[http]].concat()).unwrap_err().contains("https://"));
    }

    #[test]
    fn a_setting_of_a_listener_knows_where_it_came_from() {
        let mut config = Config::default();
        config.set("listener.name.kafka.ssl.client.auth", "none", Source::File).unwrap();
        assert!(config.set("listener.name.kafka.ssl.client.auth", "maybe", Source::File).is_err());
        assert_eq!(config.sources.len(), 1);
    }
}
