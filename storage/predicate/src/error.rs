//! Why a predicate was refused, or stopped.
use thiserror::Error;

use crate::names::Suggestion;

/// The text is not a predicate that can be served. The client gets the message with INVALID_REQUEST.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    #[error("the predicate has {bytes} bytes, at most {max} are served; split it over several fetches")]
    TextTooLong { bytes: usize, max: usize },
    #[error("the predicate is not UTF-8")]
    NotUtf8,
    #[error("the predicate is empty; leave it out to get every row")]
    Empty,
    #[error("the predicate does not parse: {detail}")]
    Syntax { detail: String },
    #[error("after the predicate comes {found}; a predicate is one boolean expression")]
    TrailingText { found: String },
    #[error("the predicate has more than {max} operators, columns and literals; simplify it or use IN")]
    TooManyNodes { max: usize },
    #[error(
        "the predicate is nested deeper than {max} levels; chains of AND, OR and + count a level each, use IN or BETWEEN"
    )]
    TooDeep { max: usize },
    #[error("the IN lists of the predicate have {items} items together, at most {max} are served")]
    TooManyItems { items: usize, max: usize },
    #[error("there is no column {name}{suggestion}")]
    UnknownColumn { name: String, suggestion: Suggestion },
    #[error("function {name} is not on the list of functions that predicates may call{}", suggestion(.nearest))]
    UnknownFunction { name: String, nearest: Option<String> },
    #[error("{name} is refused in a view, whose rows must not depend on when they are read")]
    ClockInView { name: String },
    #[error("{what} cannot be used in a predicate")]
    NotAnExpression { what: &'static str },
    #[error("the pattern of {name} must be a literal")]
    PatternNotLiteral { name: String },
    #[error("the regular expression {pattern:?} is refused: {detail}")]
    BadPattern { pattern: String, detail: String },
    #[error("the predicate gives {found}, it must give BOOLEAN")]
    NotBoolean { found: String },
    #[error("the predicate cannot be planned: {detail}")]
    Unplannable { detail: String },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Evaluation ended early. A row that raises an error is *not* one of these.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluateError {
    #[error("the batch lacks column {column}, which the predicate uses")]
    MissingColumn { column: String },
    #[error("evaluation was stopped: {reason}")]
    Stopped { reason: String },
}
