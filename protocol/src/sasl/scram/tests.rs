use super::*;

const NAME: &str = "user";
const PASSWORD: &str = "pencil";
const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

fn keys(hash: Hash) -> ScramKeys {
    let iterations = NonZeroU32::new(4096).unwrap();
    ScramKeys::derive(hash, PASSWORD.as_bytes(), BASE64.decode(SALT).unwrap(), iterations)
}

/// The exchange of RFC 7677, section 3, byte for byte, on both sides.
#[test]
fn exchange_of_the_rfc_is_reproduced() {
    let (client, first) = ClientStart::new(Hash::Sha256, NAME, PASSWORD, CLIENT_NONCE);
    assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let server = ServerStart::parse(&first).ok().unwrap();
    assert_eq!((server.name.as_str(), server.authorization.as_str()), (NAME, ""));
    let (server, challenge) = server.challenge(SERVER_NONCE, keys(Hash::Sha256));
    assert_eq!(challenge, b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let (client, proof) = client.prove(&challenge).ok().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&proof),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let outcome = server.finish(&proof).unwrap();
    assert_eq!(outcome, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    client.verify(&outcome).unwrap();
}

fn challenged(hash: Hash, password: &str) -> (ServerChallenged, Vec<u8>) {
    let (client, first) = ClientStart::new(hash, "a,b=c", password, "abc");
    let server = ServerStart::parse(&first).ok().unwrap();
    assert_eq!(server.name, "a,b=c");
    let (server, challenge) = server.challenge("xyz", keys(hash));
    (server, client.prove(&challenge).ok().unwrap().1)
}

#[test]
fn right_password_passes_and_any_other_does_not() {
    for hash in Hash::ALL {
        let (server, proof) = challenged(hash, PASSWORD);
        assert!(server.finish(&proof).is_ok());
        for wrong in ["Pencil", "pencil ", "", "pencilpencil"] {
            let (server, proof) = challenged(hash, wrong);
            assert_eq!(server.finish(&proof).err(), Some(ScramError::Proof), "{wrong}");
        }
        assert!(keys(hash).are_of(PASSWORD.as_bytes()));
        assert!(!keys(hash).are_of(b"penci"));
    }
}

/// Every byte of the final message counts: changing one is refused, whatever it belongs to.
#[test]
fn final_message_that_was_tampered_with_is_refused() {
    let (_, proof) = challenged(Hash::Sha256, PASSWORD);
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        let (server, same_proof) = challenged(Hash::Sha256, PASSWORD);
        assert_eq!(same_proof, proof);
        assert!(server.finish(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn proof_of_another_exchange_is_refused() {
    let (_, proof) = challenged(Hash::Sha256, PASSWORD);
    let (_, first) = ClientStart::new(Hash::Sha256, "a,b=c", PASSWORD, "abc");
    let (server, _) = ServerStart::parse(&first).ok().unwrap().challenge("other", keys(Hash::Sha256));
    assert_eq!(server.finish(&proof).err(), Some(ScramError::Nonce));
}

#[test]
fn first_messages_that_ask_for_what_is_not_there_are_refused() {
    for (message, error) in [
        ("p=tls-unique,,n=a,r=b", ScramError::ChannelBinding),
        ("n,,m=x,n=a,r=b", ScramError::Extension { extension: "m=x".to_owned() }),
        ("n,,n=a,r=b,tokenauth=true", ScramError::Extension { extension: "tokenauth=true".to_owned() }),
    ] {
        assert_eq!(ServerStart::parse(message.as_bytes()).err(), Some(error), "{message}");
    }
    for message in
        ["", "n", "n,,", "n,,n=,r=b", "n,,n=a,r=", "n,,n=a=2,r=b", "n,,n=a=2D,r=b", "x,,n=a,r=b", "n,q,n=a,r=b"]
    {
        let error = ServerStart::parse(message.as_bytes()).err();
        assert_eq!(error, Some(ScramError::Malformed { what: CLIENT_FIRST }), "{message}");
    }
    assert_eq!(ServerStart::parse(b"n,a=b,n=a,r=c").ok().unwrap().authorization, "b");
}

#[test]
fn client_refuses_servers_that_are_lazy_greedy_or_do_not_know_the_password() {
    let start = || ClientStart::new(Hash::Sha512, NAME, PASSWORD, "abc").0;
    for (challenge, error) in [
        ("r=abcd,s=AAAA,i=4095", ScramError::Server { what: "number of iterations" }),
        ("r=abcd,s=AAAA,i=1000001", ScramError::Server { what: "number of iterations" }),
        ("r=abc,s=AAAA,i=4096", ScramError::Nonce),
        ("r=xabc,s=AAAA,i=4096", ScramError::Nonce),
        ("r=abcd,s=?,i=4096", ScramError::Malformed { what: SERVER_FIRST }),
        ("r=abcd,s=AAAA", ScramError::Malformed { what: SERVER_FIRST }),
    ] {
        assert_eq!(start().prove(challenge.as_bytes()).err(), Some(error), "{challenge}");
    }
    let prove = || start().prove(b"r=abcd,s=AAAA,i=4096").ok().unwrap().0;
    assert_eq!(prove().verify(b"v=AAAA"), Err(ScramError::Server { what: "signature" }));
    assert_eq!(prove().verify(b"e=invalid-proof"), Err(ScramError::Proof));
}

#[test]
fn nobody_has_the_same_salt_each_time_and_no_password() {
    let iterations = NonZeroU32::new(4096).unwrap();
    let nobody = |name| ScramKeys::of_nobody(Hash::Sha256, b"secret", name, iterations);
    assert!(nobody("a") == nobody("a"));
    assert_ne!(nobody("a").salt, nobody("b").salt);
    assert_eq!((nobody("a").salt.len(), nobody("a").stored_key.len()), (SALT_LEN, 32));
    assert!(!nobody("a").are_of(b""));
}

/// librdkafka 2.0 sends `r=` with its own nonce, then the whole one again, and signs that. Kafka takes it. A broker that wanted
/// the nonce to be equal refused every librdkafka that Debian 12 ships.
#[test]
fn final_message_of_old_librdkafka_is_taken() {
    let (server, _) = challenged(Hash::Sha256, PASSWORD);
    let keys = keys(Hash::Sha256);
    let salted = Hash::Sha256.salted_password(PASSWORD.as_bytes(), &keys.salt, keys.iterations);
    let without_proof = "c=biws,r=abcabcxyz";
    let transcript = format!("{},{without_proof}", server.transcript);
    let client_key = Hash::Sha256.hmac(&salted, b"Client Key");
    let signature = Hash::Sha256.hmac(&keys.stored_key, transcript.as_bytes());
    let proof = BASE64.encode(xor(&client_key, &signature));
    assert!(server.finish(format!("{without_proof},p={proof}").as_bytes()).is_ok());
}
