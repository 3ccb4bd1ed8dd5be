//! Settings of authorisation: whether there is any, and who is beyond it.
use super::declare::settings;
use super::values::{ByteCount, SettingValue, ValueError};
use crate::security::Principal;

settings! {
    "Authorisation",
    /// Who may do what.
    AuthorizationSettings {
        /// Whether access control lists decide who may do what: `on`, `off`, or `auto` = once a listener authenticates its
        /// clients. Without lists, and without super users, nobody may do anything once it is on.
        "authorizer" => authorizer: AuthorizerMode = AuthorizerMode::Auto;
        /// They may do everything, whatever lists say: `User:admin`, several separated by semicolons (or a TOML list).
        "super.users" => super_users: Principals = Principals::default();
        /// What no list mentions is allowed to everybody. As in Kafka; leave it off where strangers can connect.
        "allow.everyone.if.no.acl.found" => allow_if_no_acl: bool = false;
        /// File to which is appended who was refused what and who changed what, one JSON object a line; names only, never values.
        /// Empty = none.
        "audit.file.path" => audit_file: String = String::new();
        /// Size at which the audit file is renamed to `FILE.1`, in place of the one before.
        "audit.file.max.bytes" => audit_file_max: ByteCount = ByteCount::mib(100);
    }
}

/// Whether access control lists are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizerMode {
    /// Once a listener authenticates.
    Auto,
    /// Always, also for clients nobody has authenticated.
    On,
    /// Never: everybody who may connect may do everything.
    Off,
}

const MODES: [(&str, AuthorizerMode); 3] =
    [("auto", AuthorizerMode::Auto), ("on", AuthorizerMode::On), ("off", AuthorizerMode::Off)];

impl SettingValue for AuthorizerMode {
    const KIND: &'static str = "auto, on or off";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let name = text.trim().to_ascii_lowercase();
        let found = MODES.iter().find(|(mode, _)| *mode == name);
        found.map(|(_, mode)| *mode).ok_or_else(|| ValueError::new(text, Self::KIND))
    }

    fn show(&self) -> String {
        MODES.iter().find(|(_, mode)| mode == self).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }
}

/// A list of principals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Principals(pub Vec<Principal>);

impl SettingValue for Principals {
    const KIND: &'static str = "list of principals";

    fn parse(text: &str) -> Result<Self, ValueError> {
        // Names may hold commas (CN=a,OU=b), so lists are separated by semicolons, as in Kafka.
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let principals: Result<Vec<Principal>, _> = parts.map(str::parse).collect();
        let expected = "a list of principals, such as User:admin;User:operator";
        principals.map(Principals).map_err(|_| ValueError::new(text, expected))
    }

    fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn super_users_are_separated_by_semicolons_because_names_hold_commas() {
        let parsed = Principals::parse("User:CN=a,OU=b; User:root").unwrap();
        assert_eq!(parsed.0, [Principal::user("CN=a,OU=b"), Principal::user("root")]);
        assert_eq!(Principals::parse(&parsed.show()).unwrap(), parsed);
        assert!(Principals::parse("").unwrap().0.is_empty());
        assert!(Principals::parse("root").is_err());
    }

    #[test]
    fn modes_are_named() {
        for (name, mode) in MODES {
            assert_eq!((AuthorizerMode::parse(name), mode.show()), (Ok(mode), name.to_owned()));
        }
        assert!(AuthorizerMode::parse("yes").is_err());
    }
}
