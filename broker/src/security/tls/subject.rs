//! The subject of a certificate as Kafka's default principal has it: `X500Principal.getName()`, which is RFC 2253.
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::security::principal::NAME_MAX;

/// Attribute types that RFC 2253 gives a short name.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The subject of a DER certificate; None if it has none that can be a name.
#[must_use]
pub fn subject_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(written(certificate.subject())).filter(|name| (1..=NAME_MAX).contains(&name.len()))
}

/// The most specific part first, the other way round than in the certificate.
fn written(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
    match (short, attribute.as_str()) {
        (Some(short), Ok(text)) => format!("{short}={}", escaped(text)),
        (_, _) => {
            let value = attribute.attr_value();
            let mut encoded =
                format!("{oid}=#{:02x}", value.header.raw_tag().and_then(|tag| tag.first()).copied().unwrap_or(0));
            encoded.push_str(&match value.data.len() {
                short @ 0..=0x7f => format!("{short:02x}"),
                medium @ 0x80..=0xff => format!("81{medium:02x}"),
                long => format!("82{:04x}", long & 0xffff),
            });
            value.data.iter().for_each(|byte| encoded.push_str(&format!("{byte:02x}")));
            encoded
        }
    }
}

/// RFC 2253, section 2.4.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (character == '#' && at == 0)
            || (character == ' ' && (at == 0 || at == last));
        if special {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(parts: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        parts.iter().for_each(|(kind, text)| params.distinguished_name.push(kind.clone(), *text));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    /// What `new X500Principal(...).getName()` of Java 17 writes for these.
    #[test]
    fn subjects_are_written_as_java_writes_them() {
        let subject = |parts: &[(DnType, &str)]| subject_of(&certificate(parts));
        let parts =
            [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Weir, Inc."), (DnType::CommonName, "alice")];
        assert_eq!(subject(&parts).as_deref(), Some("CN=alice,O=Weir\\, Inc.,C=DE"));
        assert_eq!(subject(&[(DnType::CommonName, "#a+b ")]).as_deref(), Some("CN=\\#a\\+b\\ "));
        let email = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        assert_eq!(subject(&[(email, "a")]).as_deref(), Some("1.2.840.113549.1.9.1=#0c0161"));
        assert_eq!(subject(&[]), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert_eq!(subject_of(b""), None);
        assert_eq!(subject_of(&[0x30; 100]), None);
        let whole = certificate(&[(DnType::CommonName, "alice")]);
        for length in 0..whole.len() {
            assert_eq!(subject_of(&whole[..length]), None, "{length}");
        }
    }
}
