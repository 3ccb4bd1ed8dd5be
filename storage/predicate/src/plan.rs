//! From text to an expression that is bound to a schema.
//!
//! Identifiers are case-sensitive, decimal literals are decimals, zone-less times compare as UTC, integer overflow is an
//! error of the row. `now()` is folded to one instant for the whole request.
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{InList, ScalarFunction};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{
    Between, BinaryExpr as BinaryOp, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast, lit,
};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_pruning::PruningPredicate;
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{
    AccessExpr, Expr as SqlExpr, FunctionArguments, Ident, ObjectNamePart, Subscript, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};

use crate::bounds;
use crate::error::PlanError;
use crate::functions::{self, CLOCK_FUNCTIONS, Functions, PATTERN_FUNCTIONS};
use crate::names::Suggestion;

/// Parsing, planning and dropping a tree within the limits needs a fraction of this; pages that are not touched cost nothing.
const STACK_BYTES: usize = 32 << 20;
/// Compiled size of one regular expression.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Digits that every decimal can have.
const DECIMAL_DIGITS: usize = 38;

/// What `now()` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The request arrived at this time (milliseconds since 1970, UTC).
    At(i64),
    /// There is none: a view gives the same rows whenever it is read.
    Refused,
}

/// A boolean expression bound to a schema. Cheap to share; evaluation keeps no state.
#[derive(Debug, Clone)]
pub struct Predicate {
    text: Arc<str>,
    /// The columns the expression reads, in the order of the schema it was planned for.
    input: SchemaRef,
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    uses_clock: bool,
    pub(crate) pruning: Option<Arc<PruningPredicate>>,
}

impl Predicate {
    /// Plans `text` over the columns of `schema`.
    pub fn plan(text: &[u8], schema: &SchemaRef, clock: Clock) -> Result<Predicate, PlanError> {
        let text = std::str::from_utf8(text).map_err(|_| PlanError::NotUtf8)?;
        if text.len() > bounds::TEXT_BYTES_MAX {
            return Err(PlanError::TextTooLong { bytes: text.len(), max: bounds::TEXT_BYTES_MAX });
        }
        let (text, schema) = (text.to_owned(), schema.clone());
        // A hostile text may still make a planner panic: the thread is the fence.
        let planning = std::thread::Builder::new().name("weir-plan".to_owned()).stack_size(STACK_BYTES);
        let planned = planning.spawn(move || plan(&text, &schema, clock));
        let planned = planned.map_err(|e| PlanError::Unplannable { detail: format!("no thread to plan on: {e}") })?;
        planned.join().unwrap_or_else(|_| Err(PlanError::Unplannable { detail: "the planner failed on it".to_owned() }))
    }

    /// The text as the client sent it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that evaluation needs: a batch must hold them by name, with these types.
    pub fn columns(&self) -> &SchemaRef {
        &self.input
    }

    /// Whether `now()` or its like was folded in: such a predicate is planned for each request anew.
    pub fn uses_clock(&self) -> bool {
        self.uses_clock
    }

    /// The expression after simplification, for `--explain`.
    pub fn explain(&self) -> String {
        self.expr.to_string()
    }
}

fn plan(text: &str, schema: &SchemaRef, clock: Clock) -> Result<Predicate, PlanError> {
    let mut sql = bounds::parse(text)?;
    let _: ControlFlow<()> = VisitMut::visit(&mut sql, &mut Spelling);
    let mut names = Names { schema, clock, uses_clock: false };
    if let ControlFlow::Break(error) = Visit::visit(&sql, &mut names) {
        return Err(error);
    }
    let uses_clock = names.uses_clock;
    let logical = to_logical(sql, schema, clock)?;
    check_patterns(&logical, Pattern::MustBeLiteral)?;
    let input = input_of(&logical, schema);
    let df_schema = df_schema(&input)?;
    let expr = create_physical_expr(&logical, &df_schema, &ExecutionProps::new()).map_err(unplannable)?;
    let expr = overflow_is_an_error(expr)?;
    check_type(&expr, &input)?;
    let pruning = PruningPredicate::try_new(expr.clone(), input.clone()).ok().filter(|p| !p.always_true());
    Ok(Predicate { text: text.into(), input, expr, uses_clock, pruning: pruning.map(Arc::new) })
}

fn to_logical(sql: SqlExpr, schema: &SchemaRef, clock: Clock) -> Result<Expr, PlanError> {
    let mut config = ConfigOptions::new();
    config.execution.time_zone = Some("UTC".to_owned());
    let config = Arc::new(config);
    let provider = Functions::new((*config).clone());
    let options = ParserOptions {
        parse_float_as_decimal: true,
        enable_ident_normalization: false,
        map_string_types_to_utf8view: false,
        ..ParserOptions::new()
    };
    let df_schema = df_schema(schema)?;
    let planner = SqlToRel::new_with_options(&provider, options);
    let expr = planner.sql_to_expr(sql, &df_schema, &mut PlannerContext::new()).map_err(unplannable)?;
    check_patterns(&expr, Pattern::MayBeFolded)?;
    let expr = floats_stay_floats(expr, &df_schema)?;
    let expr = times_alike(expr, &df_schema)?;
    let now = match clock {
        Clock::At(ms) => chrono::DateTime::from_timestamp_millis(ms),
        Clock::Refused => None,
    };
    let df_schema = Arc::new(df_schema);
    let context = SimplifyContext::builder()
        .with_schema(df_schema.clone())
        .with_query_execution_start_time(now)
        .with_config_options(config)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(expr, &df_schema).map_err(unplannable)?;
    let simplified = simplifier.simplify(lists_apart(coerced)?).map_err(unplannable)?;
    together(simplified)
}

/// DataFusion makes one list of two that are combined, and where nothing is left of them a constant: `x NOT IN (1) OR x NOT IN (2)`
/// becomes TRUE and `x IN (1) AND x IN (2)` FALSE, which they are not where `x` is NULL. So operands are hidden from it, unless they can
/// only become a list of all of their values (`x = 1 OR x = 2`, which is `x IN (1, 2)`, the same and faster).
fn lists_apart(expr: Expr) -> Result<Expr, PlanError> {
    let opaque = Arc::new(ScalarUDF::from(Opaque::default()));
    let hide = |operand: Box<Expr>, op: Operator| match *operand {
        // Its own operands are hidden.
        Expr::BinaryExpr(ref inner) if inner.op == op => operand,
        ref other if op == Operator::Or && grows_only(other) => operand,
        other => Box::new(Expr::ScalarFunction(ScalarFunction::new_udf(opaque.clone(), vec![other]))),
    };
    let apart = expr.transform_up(|node| match node {
        Expr::BinaryExpr(BinaryOp { left, op, right }) if matches!(op, Operator::And | Operator::Or) => {
            let (left, right) = (hide(left, op), hide(right, op));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryOp { left, op, right })))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(apart.map_err(unplannable)?.data)
}

fn grows_only(operand: &Expr) -> bool {
    match operand {
        Expr::InList(list) => !list.negated,
        Expr::BinaryExpr(binary) => binary.op == Operator::Eq,
        _ => false,
    }
}

fn together(expr: Expr) -> Result<Expr, PlanError> {
    let shown = expr.transform_up(|node| match node {
        Expr::ScalarFunction(mut function) if function.func.name() == OPAQUE => {
            // It has one argument.
            Ok(function.args.pop().map_or_else(|| Transformed::no(lit(false)), Transformed::yes))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(shown.map_err(unplannable)?.data)
}

/// No function of SQL has such a name.
const OPAQUE: &str = "weir opaque";

/// Gives its argument back.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Opaque {
    signature: Signature,
}

impl Default for Opaque {
    fn default() -> Self {
        Opaque { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Opaque {
    fn name(&self) -> &str {
        OPAQUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Boolean))
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        arguments.args.pop().ok_or_else(|| DataFusionError::Internal(format!("`{OPAQUE}` without an argument")))
    }
}

fn df_schema(schema: &SchemaRef) -> Result<DFSchema, PlanError> {
    DFSchema::try_from(schema.as_ref().clone()).map_err(unplannable)
}

/// The part of the schema that the expression reads.
fn input_of(expr: &Expr, schema: &SchemaRef) -> SchemaRef {
    let names: BTreeSet<&str> = expr.column_refs().iter().map(|c| c.name.as_str()).collect();
    let fields: Vec<_> = schema.fields().iter().filter(|f| names.contains(f.name().as_str())).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// DataFusion wraps around silently unless it is told not to.
fn overflow_is_an_error(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>, PlanError> {
    let checked = expr.transform_up(|node| {
        Ok(match node.downcast_ref::<BinaryExpr>() {
            Some(binary) => {
                let (left, right) = (binary.left().clone(), binary.right().clone());
                Transformed::yes(Arc::new(BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true)) as _)
            }
            None => Transformed::no(node),
        })
    });
    Ok(checked.map_err(unplannable)?.data)
}

/// BOOLEAN, and every operator exists for its argument types: kernels refuse types also when there are no rows.
fn check_type(expr: &Arc<dyn PhysicalExpr>, input: &SchemaRef) -> Result<(), PlanError> {
    let found = expr.data_type(input).map_err(unplannable)?;
    if !matches!(found, DataType::Boolean | DataType::Null) {
        return Err(PlanError::NotBoolean { found: found.to_string() });
    }
    let empty = RecordBatch::new_empty(input.clone());
    match std::panic::catch_unwind(AssertUnwindSafe(|| expr.evaluate(&empty))) {
        Ok(Ok(_)) => Ok(()),
        // A failing constant is a failing row, not a failing text: it raises its error where it is evaluated.
        Ok(Err(error)) if is_row_error(&error) => Ok(()),
        Ok(Err(error)) => Err(unplannable(error)),
        Err(_) => Err(PlanError::Unplannable { detail: "the evaluator failed on it".to_owned() }),
    }
}

fn is_row_error(error: &DataFusionError) -> bool {
    use arrow_schema::ArrowError::{ArithmeticOverflow, CastError, ComputeError, DivideByZero, ParseError};
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => {
            matches!(**error, ArithmeticOverflow(_) | DivideByZero | CastError(_) | ParseError(_) | ComputeError(_))
        }
        _ => false,
    }
}

/// DataFusion would compare and compute a float with a decimal as decimals, in which NaN and large values are errors and
/// 0.1 of a float is not exactly what was stored: the decimal becomes a float instead, also when it is a literal.
fn floats_stay_floats(expr: Expr, schema: &DFSchema) -> Result<Expr, PlanError> {
    let is_float =
        |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Float16 | DataType::Float32 | DataType::Float64));
    let to_float = |e: Box<Expr>| match (e.get_type(schema), *e) {
        (_, Expr::Literal(ScalarValue::Decimal128(Some(digits), _, scale), _)) => {
            Box::new(decimal_as_float(digits, scale))
        }
        (Ok(DataType::Decimal128(..) | DataType::Decimal256(..)), e) => Box::new(cast(e, DataType::Float64)),
        (_, e) => Box::new(e),
    };
    let rewritten = expr.transform_up(|node| {
        Ok(match node {
            Expr::BinaryExpr(b) if is_float(&b.left) || is_float(&b.right) => {
                Transformed::yes(Expr::BinaryExpr(BinaryOp::new(to_float(b.left), b.op, to_float(b.right))))
            }
            Expr::Between(b) if is_float(&b.expr) => {
                Transformed::yes(Expr::Between(Between::new(b.expr, b.negated, to_float(b.low), to_float(b.high))))
            }
            Expr::InList(l) if is_float(&l.expr) => {
                let list = l.list.into_iter().map(|item| *to_float(Box::new(item))).collect();
                Transformed::yes(Expr::InList(InList::new(l.expr, list, l.negated)))
            }
            other => Transformed::no(other),
        })
    });
    Ok(rewritten.map_err(unplannable)?.data)
}

/// DataFusion finds no common type for times of a day in different units, and a literal is one in nanoseconds: those are compared, which
/// every time has exactly.
fn times_alike(expr: Expr, schema: &DFSchema) -> Result<Expr, PlanError> {
    let nanoseconds = DataType::Time64(TimeUnit::Nanosecond);
    let is_time = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Time32(_) | DataType::Time64(_)));
    let exact = |e: Expr| match e.get_type(schema) {
        Ok(DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond)) => cast(e, nanoseconds.clone()),
        _ => e,
    };
    let boxed = |e: Box<Expr>| Box::new(exact(*e));
    let rewritten = expr.transform_up(|node| {
        Ok(match node {
            Expr::BinaryExpr(b) if is_time(&b.left) && is_time(&b.right) => {
                Transformed::yes(Expr::BinaryExpr(BinaryOp::new(boxed(b.left), b.op, boxed(b.right))))
            }
            Expr::Between(b) if is_time(&b.expr) && (is_time(&b.low) || is_time(&b.high)) => {
                Transformed::yes(Expr::Between(Between::new(boxed(b.expr), b.negated, boxed(b.low), boxed(b.high))))
            }
            Expr::InList(l) if is_time(&l.expr) && l.list.iter().any(is_time) => {
                let list = l.list.into_iter().map(exact).collect();
                Transformed::yes(Expr::InList(InList::new(boxed(l.expr), list, l.negated)))
            }
            other => Transformed::no(other),
        })
    });
    Ok(rewritten.map_err(unplannable)?.data)
}

/// The nearest float, by way of text: a division by a power of ten would round twice.
fn decimal_as_float(digits: i128, scale: i8) -> Expr {
    let float = format!("{digits}e{}", -i16::from(scale)).parse::<f64>();
    lit(ScalarValue::Float64(float.ok()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// Before constants are folded: `'a' || 'b'` may still become one.
    MayBeFolded,
    MustBeLiteral,
}

fn check_patterns(expr: &Expr, literal: Pattern) -> Result<(), PlanError> {
    let mut problem = None;
    let walked = expr.apply(|node| {
        let checked = match node {
            Expr::ScalarFunction(call) if PATTERN_FUNCTIONS.contains(&call.func.name()) => {
                call.args.get(1).map_or(Ok(()), |pattern| check_pattern(call.func.name(), pattern, literal))
            }
            Expr::BinaryExpr(b) => match b.op {
                Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                    check_pattern(&b.op.to_string(), &b.right, literal)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
        Ok(match checked {
            Ok(()) => TreeNodeRecursion::Continue,
            Err(error) => {
                problem = Some(error);
                TreeNodeRecursion::Stop
            }
        })
    });
    walked.map_err(unplannable)?;
    problem.map_or(Ok(()), Err)
}

fn check_pattern(name: &str, pattern: &Expr, literal: Pattern) -> Result<(), PlanError> {
    let value = match pattern {
        Expr::Literal(value, _) => value,
        _ if literal == Pattern::MayBeFolded => return Ok(()),
        _ => return Err(PlanError::PatternNotLiteral { name: name.to_owned() }),
    };
    let (ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text)) = value else {
        return Ok(()); // NULL matches nothing
    };
    let Some(text) = text else { return Ok(()) };
    match regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build() {
        Ok(_) => Ok(()),
        Err(error) => {
            let detail = match error {
                regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {limit} bytes"),
                other => other.to_string(),
            };
            Err(PlanError::BadPattern { pattern: text.chars().take(80).collect(), detail })
        }
    }
}

fn unplannable(error: DataFusionError) -> PlanError {
    // Without backtraces and hints that speak of a database.
    PlanError::Unplannable { detail: error.strip_backtrace() }
}

/// Forms that DataFusion does not plan, in forms that it does: `list[1].name` becomes `list[1]['name']`, `user` a column, and
/// numbers that no decimal holds, as `1e300`, floats.
struct Spelling;

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::CompoundFieldAccess { root, access_chain } => {
                if let Some(path) = plain_path(root, access_chain) {
                    *expr = SqlExpr::CompoundIdentifier(path);
                    return ControlFlow::Continue(());
                }
                for access in access_chain {
                    if let AccessExpr::Dot(SqlExpr::Identifier(name)) = access {
                        let index = SqlExpr::value(Value::SingleQuotedString(std::mem::take(&mut name.value)));
                        *access = AccessExpr::Subscript(Subscript::Index { index });
                    }
                }
            }
            // `user` and the like are functions without parentheses in SQL; here they are columns, if anything.
            SqlExpr::Function(_) => {
                if let Some(name) = column_like(expr) {
                    *expr = SqlExpr::Identifier(name);
                }
            }
            SqlExpr::Value(value) => {
                if let Value::Number(number, _) = &value.value
                    && is_beyond_decimals(number)
                    && let Ok(float) = bounds::parse(&format!("CAST('{number}' AS DOUBLE)"))
                {
                    *expr = float;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The name of what looks like a function without parentheses and is none that may be called.
fn column_like(expr: &SqlExpr) -> Option<Ident> {
    let SqlExpr::Function(call) = expr else { return None };
    match (&call.args, call.name.0.as_slice()) {
        (FunctionArguments::None, [ObjectNamePart::Identifier(name)]) => {
            (!functions::is_allowed(&name.value.to_lowercase())).then(|| name.clone())
        }
        _ => None,
    }
}

/// `user.address.city`, whose first name SQL takes for a function.
fn plain_path(root: &SqlExpr, access_chain: &[AccessExpr]) -> Option<Vec<Ident>> {
    let name = |access: &AccessExpr| match access {
        AccessExpr::Dot(SqlExpr::Identifier(name)) => Some(name.clone()),
        _ => None,
    };
    let rest: Option<Vec<Ident>> = access_chain.iter().map(name).collect();
    let mut path = vec![column_like(root)?];
    path.extend(rest?);
    Some(path)
}

/// A number with an exponent that makes more digits than a decimal has.
fn is_beyond_decimals(number: &str) -> bool {
    let Some((digits, exponent)) = number.split_once(['e', 'E']) else { return false };
    let exponent = exponent.parse::<i32>().map_or(usize::MAX, |exponent| exponent.unsigned_abs() as usize);
    digits.len().saturating_add(exponent) > DECIMAL_DIGITS
}

/// Names that do not exist are told with the nearest one that does.
struct Names<'a> {
    schema: &'a SchemaRef,
    clock: Clock,
    uses_clock: bool,
}

impl Visitor for Names<'_> {
    type Break = PlanError;

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<PlanError> {
        match expr {
            SqlExpr::Identifier(ident) => self.column(&ident.value),
            SqlExpr::CompoundIdentifier(parts) => self.path(parts),
            SqlExpr::Function(call) => self.function(&call.name.to_string().to_lowercase()),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Names<'_> {
    fn column(&self, name: &str) -> ControlFlow<PlanError> {
        if self.schema.index_of(name).is_ok() {
            return ControlFlow::Continue(());
        }
        let suggestion = Suggestion::new(name, self.schema.fields().iter().map(|f| f.name().as_str()));
        ControlFlow::Break(PlanError::UnknownColumn { name: name.to_owned(), suggestion })
    }

    /// `user.address.city`
    fn path(&self, parts: &[Ident]) -> ControlFlow<PlanError> {
        let mut fields = self.schema.fields();
        for (depth, part) in parts.iter().enumerate() {
            let Some((_, field)) = fields.find(&part.value) else {
                let name = parts[..=depth].iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
                let suggestion = Suggestion::new(&part.value, fields.iter().map(|f| f.name().as_str()));
                return ControlFlow::Break(PlanError::UnknownColumn { name, suggestion });
            };
            match field.data_type() {
                DataType::Struct(members) => fields = members,
                // The planner says what is wrong with the rest.
                _ => break,
            }
        }
        ControlFlow::Continue(())
    }

    fn function(&mut self, name: &str) -> ControlFlow<PlanError> {
        if CLOCK_FUNCTIONS.contains(&name) {
            self.uses_clock = true;
            if self.clock == Clock::Refused {
                return ControlFlow::Break(PlanError::ClockInView { name: name.to_owned() });
            }
        }
        if functions::is_allowed(name) {
            return ControlFlow::Continue(());
        }
        let nearest = functions::nearest(name);
        ControlFlow::Break(PlanError::UnknownFunction { name: name.to_owned(), nearest })
    }
}
