//! Hostile and mistaken texts: an error with a reason, never a crash, never long.
use std::time::{Duration, Instant};

use super::*;

fn refuse(text: &str) -> PlanError {
    match plan(text, &flights().schema()) {
        Err(error) => error,
        Ok(predicate) => panic!("{text} was planned as {}", predicate.explain()),
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let table: &[(&str, &str)] = &[
        ("", "is empty"),
        ("   ", "is empty"),
        ("dep_delai > 3", "no column dep_delai; did you mean dep_delay?"),
        ("Carrier = 'UA'", "no column Carrier; did you mean carrier?"),
        (
            "lowr(carrier) = 'ua'",
            "function lowr is not on the list of functions that predicates may call; did you mean lower?",
        ),
        ("repeat(carrier, 1000000000) = 'x'", "function repeat is not on the list"),
        ("random() < 0.5", "function random is not on the list"),
        ("sum(dep_delay) > 3", "function sum is not on the list"),
        ("dep_delay >", "does not parse"),
        ("dep_delay > 3 dep_delay", "comes dep_delay at line 1, column 15"),
        ("dep_delay > 3; DROP TABLE flights", "comes ;"),
        ("dep_delay + 1", "must give BOOLEAN"),
        ("carrier = (SELECT 1)", "a subquery cannot be used"),
        ("EXISTS (SELECT 1)", "a subquery cannot be used"),
        ("dep_delay IN (SELECT 1)", "a subquery cannot be used"),
        ("dep_delay = $1", "a placeholder cannot be used"),
        ("row_number() OVER (ORDER BY dep_delay) = 1", "a window function cannot be used"),
        ("carrier ~ '((a{1000}){1000}){1000}'", "regular expression"),
        ("carrier ~ '(a'", "regular expression"),
        ("carrier ~ carrier", "must be a literal"),
        ("regexp_like(carrier, address.city)", "must be a literal"),
        ("address.street = 'x'", "street"),
        ("tags = 3", "cannot be planned"),
        ("carrier.x = 3", "cannot be planned"),
    ];
    for (text, expected) in table {
        let message = refuse(text).to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn a_view_has_no_clock() {
    let schema = flights().schema();
    for text in ["at > now()", "day = current_date", "at > current_timestamp()"] {
        let refused = Predicate::plan(text.as_bytes(), &schema, Clock::Refused);
        assert!(matches!(refused, Err(PlanError::ClockInView { .. })), "{text}: {refused:?}");
    }
    assert!(Predicate::plan(b"dep_delay > 60", &schema, Clock::Refused).is_ok());
}

#[test]
fn bombs_are_refused_with_the_limit_in_the_message_and_fast() {
    let terms = |n: usize, joint: &str| vec!["late"; n].join(joint);
    let nested = |open: &str, close: &str, n: usize| format!("{}late{}", open.repeat(n), close.repeat(n));
    let items: Vec<String> = (0..1001).map(|i| i.to_string()).collect();
    let bombs = [
        ("OR chain", terms(1000, " OR ")),
        ("sum of ones", format!("{} > 0", vec!["1"; 8000].join("+"))),
        ("sum of columns", format!("{} > 0", vec!["dep_delay"; 1200].join(" + "))),
        ("parentheses", nested("(", ")", 5000)),
        ("NOT", format!("{}late", "NOT ".repeat(4000))),
        ("minus", format!("{}dep_delay > 0", "- ".repeat(6000))),
        ("arrays", format!("{}1{} = tags", "[".repeat(5000), "]".repeat(5000))),
        ("calls", format!("{}carrier{} = 'x'", "lower(".repeat(2000), ")".repeat(2000))),
        ("CASE", format!("{}late{}", "CASE WHEN ".repeat(1000), " THEN late END".repeat(900))),
        ("CAST", format!("{}1{} = 1", "CAST(".repeat(1500), " AS INT)".repeat(1500))),
        ("IN list", format!("dep_delay IN ({})", items.join(","))),
        ("long text", format!("carrier = '{}'", "x".repeat(20_000))),
        ("intervals", format!("at > now() {}", "- INTERVAL '1 day' ".repeat(800))),
        ("open quote", "carrier = 'x".to_owned()),
        ("comment", "/* ".repeat(5000)),
        ("dots", format!("address{} = 1", ".a".repeat(7000))),
        ("subscripts", format!("tags{} = 1", "[1]".repeat(5000))),
        ("BETWEEN", format!("dep_delay {} 1", "BETWEEN 0 AND 1 AND late AND dep_delay ".repeat(400))),
        ("zero bytes", "\0".repeat(1000)),
        ("letters beyond ASCII", "é".repeat(8000)),
    ];
    for (name, text) in &bombs {
        let start = Instant::now();
        let refused = plan(text, &flights().schema());
        assert!(refused.is_err(), "{name} was planned");
        // Generous, since a debug build on a busy machine runs this; the point is that nothing explodes.
        assert!(start.elapsed() < Duration::from_secs(5), "{name} took {:?}", start.elapsed());
    }
}

#[test]
fn what_is_within_the_limits_is_served() {
    let items: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let in_list = format!("dep_delay IN ({})", items.join(","));
    assert_eq!(select(&in_list), (vec![0, 1, 3], 0));
    let chain = vec!["dep_delay = 61"; 60].join(" OR ");
    assert_eq!(select(&chain), (vec![1], 0));
    let deep = format!("{}late{}", "(".repeat(50), ")".repeat(50));
    assert_eq!(select(&deep), (vec![1, 4], 0));
}

/// Random token soup: an answer or an error, on any text.
#[test]
fn any_text_is_planned_or_refused() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let words = [
        "dep_delay",
        "carrier",
        "address",
        "tags",
        "extra",
        "at",
        "late",
        "'UA'",
        "'",
        "\"",
        "1",
        "0",
        "-1",
        "1e400",
        "NULL",
        "AND",
        "OR",
        "NOT",
        "=",
        "<>",
        "<",
        ">",
        "+",
        "-",
        "*",
        "/",
        "%",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "::",
        "IN",
        "LIKE",
        "~",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "CAST",
        "AS",
        "INT",
        "INTERVAL",
        "'1 day'",
        "lower(",
        "abs(",
        "coalesce(",
        "IS",
        "->",
        "->>",
        "||",
        "^",
        "#",
        "@",
        "?",
        "$1",
        "SELECT",
        "FROM",
        "DATE",
        "TIMESTAMP",
        "'2013-01-01'",
        "99999999999999999999",
    ];
    let schema = flights().schema();
    let mut random = StdRng::seed_from_u64(20_130_101);
    let mut planned = 0;
    for _ in 0..1500 {
        let text: Vec<&str> =
            (0..random.random_range(1..14)).map(|_| words[random.random_range(0..words.len())]).collect();
        if let Ok(predicate) = plan(&text.join(" "), &schema) {
            planned += 1;
            evaluate(&predicate, &flights());
        }
    }
    assert!(planned > 0, "some of them are predicates");
}
