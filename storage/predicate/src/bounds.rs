//! From text to a syntax tree of bounded size. Nothing here recurses over unbounded input: the number of tokens is known
//! before the parser runs, and the parser runs on a stack that holds a tree of that many levels.
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, Query, Select, Value, ValueWithSpan, Visit, Visitor};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::PlanError;

/// Bytes of predicate text.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
/// Nodes of the syntax tree: operators, columns, literals, calls.
pub const NODES_MAX: usize = 1000;
/// Levels of the syntax tree.
pub const DEPTH_MAX: usize = 64;
/// Items of all IN lists together. They do not count as nodes when they are literals.
pub const IN_ITEMS_MAX: usize = 1000;
/// A node has a few tokens at most (`a IS NOT DISTINCT FROM b`, parentheses, a comma); more cannot pass the node limit.
const TOKENS_MAX: usize = 8 * (NODES_MAX + IN_ITEMS_MAX);
/// Parentheses and the like the parser follows; deeper trees are refused by it before they are refused here.
const PARSER_RECURSION_MAX: usize = 4 * DEPTH_MAX;

/// Parses one boolean expression within the limits.
pub fn parse(text: &str) -> Result<Expr, PlanError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PlanError::TextTooLong { bytes: text.len(), max: TEXT_BYTES_MAX });
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|e| PlanError::Syntax { detail: e.to_string() })?;
    let count = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF)).count();
    if count == 0 {
        return Err(PlanError::Empty);
    }
    if count > TOKENS_MAX {
        return Err(PlanError::TooManyNodes { max: NODES_MAX });
    }
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(PARSER_RECURSION_MAX).with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(|e| match e {
        datafusion_sql::sqlparser::parser::ParserError::RecursionLimitExceeded => PlanError::TooDeep { max: DEPTH_MAX },
        other => PlanError::Syntax { detail: other.to_string() },
    })?;
    let TokenWithSpan { token, span } = parser.peek_token();
    if token != Token::EOF {
        let found = format!("{token} at line {}, column {}", span.start.line, span.start.column);
        return Err(PlanError::TrailingText { found });
    }
    let mut size = Size::default();
    match expr.visit(&mut size) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(expr),
    }
}

/// Counts what the limits are about, and refuses what is not an expression over one row.
#[derive(Default)]
struct Size {
    nodes: usize,
    depth: usize,
    items: usize,
    /// Nodes that are literal items of an IN list.
    free: usize,
}

impl Visitor for Size {
    type Break = PlanError;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<PlanError> {
        self.depth += 1;
        self.nodes += 1;
        if let Expr::InList { list, .. } = expr {
            self.items += list.len();
            // Literal items are a set, not a tree; they are counted as items only.
            self.free += list.iter().filter(|item| matches!(item, Expr::Value(_))).count();
        }
        let refused = match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => Some("a subquery"),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => Some("*"),
            Expr::Function(f) if f.over.is_some() => Some("a window function"),
            _ => None,
        };
        if let Some(what) = refused {
            return ControlFlow::Break(PlanError::NotAnExpression { what });
        }
        if self.depth > DEPTH_MAX {
            return ControlFlow::Break(PlanError::TooDeep { max: DEPTH_MAX });
        }
        if self.items > IN_ITEMS_MAX {
            return ControlFlow::Break(PlanError::TooManyItems { items: self.items, max: IN_ITEMS_MAX });
        }
        if self.nodes > NODES_MAX + self.free {
            return ControlFlow::Break(PlanError::TooManyNodes { max: NODES_MAX });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<PlanError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<PlanError> {
        ControlFlow::Break(PlanError::NotAnExpression { what: "a subquery" })
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<PlanError> {
        ControlFlow::Break(PlanError::NotAnExpression { what: "a subquery" })
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<PlanError> {
        match value.value {
            Value::Placeholder(_) => ControlFlow::Break(PlanError::NotAnExpression { what: "a placeholder" }),
            _ => ControlFlow::Continue(()),
        }
    }
}
