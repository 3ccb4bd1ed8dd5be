//! What predicates may call: deterministic scalar functions whose output is not longer than their arguments together.
//! `repeat`, `lpad`, `replace` and the like are left out, since a short text could ask for gigabytes with them; so is
//! everything random or stateful.
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

/// A function of the published list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedFunction {
    pub name: &'static str,
    pub does: &'static str,
}

const fn f(name: &'static str, does: &'static str) -> AllowedFunction {
    AllowedFunction { name, does }
}

const ALLOWED: &[AllowedFunction] = &[
    f("abs", "absolute value"),
    f("array_element", "element of an array by position, from 1; also `a[1]`"),
    f("array_has", "whether an array holds a value"),
    f("array_has_all", "whether an array holds every value of another"),
    f("array_has_any", "whether an array holds any value of another"),
    f("array_length", "length of an array"),
    f("array_position", "position of a value in an array, from 1"),
    f("ascii", "code point of the first character"),
    f("bit_length", "length of a string in bits"),
    f("btrim", "without leading and trailing characters; `trim`"),
    f("cardinality", "number of elements of an array or map"),
    f("cbrt", "cube root"),
    f("ceil", "next integer above"),
    f("char_length", "as character_length"),
    f("character_length", "length of a string in characters; `length`, `char_length`"),
    f("chr", "character of a code point"),
    f("coalesce", "first argument that is not null"),
    f("concat", "arguments one after the other, nulls left out; also `||`"),
    f("concat_ws", "arguments with a separator between"),
    f("contains", "whether a string holds another"),
    f("cos", "cosine"),
    f("current_date", "the date when the request arrived; refused in views"),
    f("date_bin", "start of the interval that holds a time"),
    f("date_part", "a field of a time; also `EXTRACT(field FROM t)`"),
    f("date_trunc", "a time cut to a precision"),
    f("datepart", "as date_part"),
    f("datetrunc", "as date_trunc"),
    f("degrees", "radians to degrees"),
    f("ends_with", "whether a string ends with another"),
    f("exp", "e to the power"),
    f("find_in_set", "position of a string in a comma-separated list"),
    f("floor", "next integer below"),
    f("from_unixtime", "time of a number of seconds since 1970"),
    f("get_field", "field of a struct or value of a map; also `s.field`, `m['key']`"),
    f("greatest", "largest argument"),
    f("ifnull", "as nvl"),
    f("initcap", "each word with an upper-case initial"),
    f("isnan", "whether a float is NaN"),
    f("iszero", "whether a number is 0"),
    f("least", "smallest argument"),
    f("left", "first characters"),
    f("length", "as character_length"),
    f("ln", "natural logarithm"),
    f("log", "logarithm to a base"),
    f("log10", "logarithm to base 10"),
    f("log2", "logarithm to base 2"),
    f("lower", "lower case"),
    f("ltrim", "without leading characters"),
    f("make_array", "array of the arguments; also `[a, b]`"),
    f("map_extract", "values of a key of a map"),
    f("map_keys", "keys of a map"),
    f("map_values", "values of a map"),
    f("nanvl", "second argument if the first is NaN"),
    f("now", "the time when the request arrived; refused in views"),
    f("nullif", "null if the arguments are equal"),
    f("nvl", "second argument if the first is null"),
    f("octet_length", "length of a string in bytes"),
    f("pi", "the number"),
    f("position", "as strpos"),
    f("pow", "as power"),
    f("power", "a number to a power"),
    f("radians", "degrees to radians"),
    f("regexp_count", "number of matches of a literal regular expression"),
    f("regexp_like", "whether a literal regular expression matches; also `s ~ 'pattern'`"),
    f("reverse", "characters in reverse"),
    f("right", "last characters"),
    f("round", "rounded to digits"),
    f("rtrim", "without trailing characters"),
    f("signum", "sign of a number"),
    f("sin", "sine"),
    f("split_part", "part of a string between separators, from 1"),
    f("sqrt", "square root"),
    f("starts_with", "whether a string begins with another"),
    f("strpos", "position of a string in another, from 1"),
    f("substr", "part of a string, from 1; also `SUBSTRING(s FROM a FOR n)`"),
    f("substring", "as substr"),
    f("tan", "tangent"),
    f("to_date", "date of a string"),
    f("to_timestamp", "time of a string or of seconds since 1970"),
    f("to_timestamp_micros", "time of a string or of microseconds since 1970"),
    f("to_timestamp_millis", "time of a string or of milliseconds since 1970"),
    f("to_timestamp_seconds", "time of a string or of seconds since 1970"),
    f("to_unixtime", "seconds since 1970 of a time"),
    f("translate", "characters replaced one by one"),
    f("trim", "as btrim"),
    f("trunc", "cut to digits"),
    f("upper", "upper case"),
];

/// Functions whose result depends on when the request arrived.
pub const CLOCK_FUNCTIONS: &[&str] = &["now", "current_date", "current_time", "current_timestamp", "today"];
/// Functions whose second argument is a regular expression, which is compiled once and must be a literal.
pub const PATTERN_FUNCTIONS: &[&str] = &["regexp_like", "regexp_count"];

/// The published list, by name.
pub fn allowed_functions() -> &'static [AllowedFunction] {
    ALLOWED
}

static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut by_name = HashMap::new();
    let all = datafusion_functions::all_default_functions()
        .into_iter()
        .chain(datafusion_functions_nested::all_default_nested_functions());
    for function in all {
        let names = function.aliases().iter().cloned().chain([function.name().to_owned()]);
        for name in names {
            if is_allowed(&name) {
                by_name.insert(name, function.clone());
            }
        }
    }
    by_name
});

static PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    vec![
        Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
        Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
        Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
        Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
        Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
    ]
});

pub fn is_allowed(name: &str) -> bool {
    ALLOWED.binary_search_by_key(&name, |f| f.name).is_ok() || CLOCK_FUNCTIONS.contains(&name)
}

/// The allowed name most like `name`, if one is near.
pub fn nearest(name: &str) -> Option<String> {
    crate::names::nearest(name, ALLOWED.iter().map(|f| f.name))
}

/// What the SQL planner may know: the allowed functions, and no tables.
pub struct Functions {
    options: ConfigOptions,
}

impl Functions {
    pub fn new(options: ConfigOptions) -> Functions {
        Functions { options }
    }
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("a predicate has no tables, not {name} either")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &PLANNERS
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<arrow_schema::DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_every_name_is_a_function() {
        assert!(ALLOWED.is_sorted_by_key(|f| f.name));
        let missing: Vec<_> = ALLOWED.iter().map(|f| f.name).filter(|n| !FUNCTIONS.contains_key(*n)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn functions_with_unbounded_or_random_output_are_not_on_it() {
        for name in ["repeat", "lpad", "rpad", "replace", "regexp_replace", "random", "uuid", "array_repeat", "range"] {
            assert!(!is_allowed(name), "{name}");
        }
    }
}
