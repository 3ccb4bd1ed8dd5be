//! The macro that declares a subsystem's settings once: fields, defaults, parsing and documentation.

/// One setting, for documentation, `weir config show` and DescribeConfigs.
#[derive(Debug, Clone)]
pub struct SettingInfo {
    /// Heading in the documentation.
    pub section: &'static str,
    /// Dotted name, as in the file.
    pub key: &'static str,
    /// Name of its type.
    pub kind: &'static str,
    /// What it is for.
    pub doc: String,
    /// Value as a user writes it.
    pub shown: String,
    /// Value as Kafka's tools expect it.
    pub wire: String,
}

/// A group of settings.
pub trait Section: Default {
    /// Every setting with its current value.
    fn infos(&self) -> Vec<SettingInfo>;
    /// Sets one; None = the key is not of this section.
    fn set(&mut self, key: &str, text: &str) -> Option<Result<(), super::ValueError>>;
}

/// Doc comments of several lines become one paragraph.
pub(crate) fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// `settings! { "Title" /// doc  struct Name { /// doc  "key" => field: Type = default; } }`
macro_rules! settings {
    ($title:literal, $(#[doc = $sdoc:literal])* $name:ident {
        $($(#[doc = $doc:literal])* $key:literal => $field:ident : $ty:ty = $default:expr;)*
    }) => {
        $(#[doc = $sdoc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::config::declare::Section for $name {
            fn infos(&self) -> Vec<$crate::config::declare::SettingInfo> {
                vec![$($crate::config::declare::SettingInfo {
                    section: $title,
                    key: $key,
                    kind: <$ty as $crate::config::values::SettingValue>::KIND,
                    doc: $crate::config::declare::paragraph(&[$($doc),*]),
                    shown: $crate::config::values::SettingValue::show(&self.$field),
                    wire: $crate::config::values::SettingValue::wire(&self.$field),
                },)*]
            }

            fn set(&mut self, key: &str, text: &str) -> Option<Result<(), $crate::config::ValueError>> {
                match key {
                    $($key => Some(<$ty as $crate::config::values::SettingValue>::parse(text).map(|v| self.$field = v)),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use settings;
