use std::num::NonZeroU32;

use weir_protocol::sasl::scram::ClientStart;

use super::*;

fn session(mechanisms: &[Mechanism], reauth_ms: u64) -> Session {
    let max_reauth = Some(Duration::from_millis(reauth_ms)).filter(|reauth| !reauth.is_zero());
    Session::new(mechanisms.to_vec(), max_reauth)
}

fn everything() -> Session {
    session(&Mechanism::ALL, 0)
}

const FETCH: i16 = ApiKey::Fetch as i16;

fn verified(name: &str, lifetime_ms: Option<u64>) -> Input<'static> {
    Input::Checked(Ok(Verified { name: name.to_owned(), lifetime: lifetime_ms.map(Duration::from_millis) }))
}

fn plain(session: &mut Session, name: &str, now: Millis, lifetime_ms: Option<u64>) -> Output {
    session.handshake(1, "PLAIN").unwrap();
    let asked = session.apply(Input::Token(&PlainMessage::encode(name, "x")), now);
    assert!(asked == Output::CheckPassword { name: name.to_owned(), password: "x".to_owned() });
    session.apply(verified(name, lifetime_ms), now)
}

#[test]
fn only_what_authenticates_is_taken_before_and_everything_after() {
    let mut session = everything();
    assert!(!session.is_open());
    for key in 0..100 {
        let taken = session.admit(key, 0).is_ok();
        assert_eq!(taken, [17, 18, 36].contains(&key), "{key}");
    }
    assert!(matches!(plain(&mut session, "a", 0, None), Output::Done { lifetime_ms: 0, .. }));
    assert!(session.is_open() && session.admit(FETCH, u64::MAX).is_ok());
}

#[test]
fn listener_without_sasl_takes_everything_and_no_handshake() {
    let mut session = Session::not_needed();
    assert!(session.is_open() && session.admit(FETCH, 0).is_ok());
    assert_eq!(session.handshake(1, "PLAIN"), Err(HandshakeRefused::State));
    assert!(session.admit(FETCH, 0).is_ok());
}

#[test]
fn mechanism_that_is_not_offered_ends_the_connection() {
    let mut session = session(&[Mechanism::Plain], 0);
    assert_eq!(session.handshake(1, "SCRAM-SHA-256"), Err(HandshakeRefused::Mechanism));
    assert!(session.is_over() && session.admit(FETCH, 0).is_err());
    assert_eq!(session.handshake(1, "PLAIN"), Err(HandshakeRefused::State));
}

#[test]
fn handshake_of_version_0_is_followed_by_raw_tokens() {
    let mut session = everything();
    session.handshake(0, "PLAIN").unwrap();
    assert!(session.expects_raw());
    let asked = session.apply(Input::Token(&PlainMessage::encode("a", "x")), 0);
    assert!(matches!(asked, Output::CheckPassword { .. }));
    assert!(matches!(session.apply(verified("a", None), 0), Output::Done { .. }));
    assert!(!session.expects_raw());
}

#[test]
fn scram_takes_two_steps_and_a_wrong_proof_ends_it() {
    let iterations = NonZeroU32::new(4096).unwrap();
    for (password, right) in [("secret", true), ("Secret", false)] {
        let mut session = everything();
        session.handshake(1, "SCRAM-SHA-256").unwrap();
        let (client, first) = ClientStart::new(Hash::Sha256, "alice", password, "abc");
        let asked = session.apply(Input::Token(&first), 0);
        assert!(asked == Output::FindKeys { hash: Hash::Sha256, name: "alice".to_owned() });
        let keys = ScramKeys::derive(Hash::Sha256, b"secret", vec![1; 16], iterations);
        let Output::Send(challenge) = session.apply(Input::Keys(Ok(keys), "nonce".to_owned()), 0) else {
            panic!("a challenge");
        };
        let (_, proof) = client.prove(&challenge).ok().unwrap();
        match session.apply(Input::Token(&proof), 0) {
            Output::Done { known, .. } => assert!(right && *known.principal == Principal::user("alice")),
            Output::Fail(failure) => assert!(!right && failure == Failure::Credentials),
            _ => panic!("an end"),
        }
        assert_eq!((session.is_open(), session.is_over()), (right, !right));
    }
}

#[test]
fn refused_token_is_told_as_json_and_ends_with_the_acknowledgement() {
    let mut session = everything();
    session.handshake(1, "OAUTHBEARER").unwrap();
    assert!(matches!(session.apply(Input::Token(&oauthbearer_of("x.y.z")), 0), Output::CheckToken { .. }));
    let failure = Failure::Token("expired".to_owned());
    let told = session.apply(Input::Checked(Err(failure.clone())), 0);
    assert!(told == Output::Send(b"{\"status\":\"invalid_token\"}".to_vec()));
    assert!(!session.is_open());
    assert!(session.apply(Input::Token(oauthbearer::DUMMY), 0) == Output::Fail(failure));
    assert!(session.is_over());
}

fn oauthbearer_of(token: &str) -> Vec<u8> {
    oauthbearer::BearerMessage::encode(token)
}

#[test]
fn session_ends_with_the_shorter_of_setting_and_token_until_it_is_renewed() {
    for (reauth, token, lifetime) in
        [(1_000, None, 1_000), (1_000, Some(400), 400), (0, Some(700), 700), (500, Some(900), 500)]
    {
        let mut session = session(&[Mechanism::Plain], reauth);
        let Output::Done { lifetime_ms, .. } = plain(&mut session, "a", 10, token) else { panic!("done") };
        assert_eq!(lifetime_ms, lifetime);
        let last = 10 + lifetime as u64;
        assert!(session.admit(FETCH, last).is_ok());
        assert_eq!(session.admit(FETCH, last + 5), Err(NotAdmitted::Expired { ago_ms: 5 }));
        // The handshake itself is taken late, as in Kafka.
        assert!(session.admit(ApiKey::SaslHandshake as i16, last + 5).is_ok());
        assert!(matches!(plain(&mut session, "a", last + 5, token), Output::Done { .. }));
        assert!(session.admit(FETCH, last + 6).is_ok());
    }
}

#[test]
fn requests_are_taken_while_a_client_authenticates_again_and_only_as_itself() {
    let mut session = session(&[Mechanism::Plain], 1_000);
    plain(&mut session, "a", 0, None);
    session.handshake(1, "PLAIN").unwrap();
    assert!(session.is_open() && session.admit(FETCH, 1_000).is_ok() && session.admit(FETCH, 1_001).is_err());
    session.apply(Input::Token(&PlainMessage::encode("b", "x")), 0);
    assert!(session.apply(verified("b", None), 0) == Output::Fail(Failure::Changed));
    assert!(session.is_over());
}

#[test]
fn nobody_acts_for_somebody_else() {
    for (mechanism, token) in [("PLAIN", &b"b\0a\0x"[..]), ("SCRAM-SHA-256", b"n,a=b,n=a,r=x")] {
        let mut session = everything();
        session.handshake(1, mechanism).unwrap();
        assert!(session.apply(Input::Token(token), 0) == Output::Fail(Failure::Authorization));
    }
}

/// Random inputs in random order: whoever gets in has gone through a handshake and a positive verdict.
#[test]
fn random_inputs_never_open_a_session_without_a_verdict() {
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let tokens: [&[u8]; 7] =
        [b"", b"\0a\0b", b"n,,n=a,r=b", b"c=biws,r=bnonce,p=AAAA", b"n,,\x01auth=Bearer x\x01\x01", b"\x01", b"\xff"];
    let mut opened = 0;
    for _ in 0..5_000 {
        let mut session = everything();
        let mut verdict = false;
        for _ in 0..8 {
            match random(5) {
                0 | 1 => drop(session.handshake(random(2) as i16, Mechanism::ALL[random(4) as usize].name())),
                2 | 3 => drop(session.apply(Input::Token(tokens[random(7) as usize]), 0)),
                _ => {
                    let waits = matches!(&session.state, State::Exchange { exchange: Exchange::Checking, .. });
                    verdict |= waits;
                    drop(session.apply(verified("a", None), 0));
                }
            }
            assert!(!session.is_open() || verdict);
            opened += usize::from(session.is_open());
        }
    }
    assert!(opened > 20, "{opened} sessions were opened");
}

/// Of a principal that has enough connections.
#[test]
fn who_is_turned_away_is_asked_nothing_more() {
    for mut session in [everything(), Session::not_needed()] {
        if !session.is_open() {
            assert!(matches!(plain(&mut session, "a", 0, None), Output::Done { .. }));
        }
        session.turn_away();
        assert!(session.is_turned_away() && session.is_over() && !session.is_open() && !session.expects_raw());
        for key in 0..100 {
            let expected = if [17, 18, 36].contains(&key) { Ok(()) } else { Err(NotAdmitted::TurnedAway) };
            assert_eq!(session.admit(key, 0), expected, "{key}");
        }
        assert_eq!(session.handshake(1, "PLAIN"), Err(HandshakeRefused::State));
        assert!(matches!(session.apply(Input::Token(b""), 0), Output::Fail(_)));
    }
}
