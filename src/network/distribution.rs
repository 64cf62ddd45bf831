//! A value for all, a value each, or a distribution that they are drawn from.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// Where the values of a parameter come from.
///
/// As text: `1.5`; `[1.0, 2.0]`; `(low: 0.0, high: 1.0)`, uniform; `(mean: 87.8, std: 8.8)`, normal, which with `low`,
/// `high` or both is drawn again until it lies between.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// The same for all.
    Constant(f64),
    /// Given one by one.
    Values(Vec<f64>),
    /// Uniform from `low` to `high`.
    Uniform {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// Normal; values below `low` or above `high` are drawn again.
    Normal {
        /// Mean before truncation.
        mean: f64,
        /// Standard deviation before truncation.
        std: f64,
        /// −∞ for none.
        low: f64,
        /// ∞ for none.
        high: f64,
    },
}

impl From<f64> for Distribution {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

impl From<Vec<f64>> for Distribution {
    fn from(values: Vec<f64>) -> Self {
        Self::Values(values)
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl Distribution {
    /// Normal without bounds.
    pub fn normal(mean: f64, std: f64) -> Self {
        Self::Normal { mean, std, low: f64::NEG_INFINITY, high: f64::INFINITY }
    }

    /// Normal, drawn again until it lies from `low` to `high`.
    pub fn truncated(mean: f64, std: f64, low: f64, high: f64) -> Self {
        Self::Normal { mean, std, low, high }
    }

    /// Uniform from `low` to `high`.
    pub fn uniform(low: f64, high: f64) -> Self {
        Self::Uniform { low, high }
    }

    /// The value, if it is the same for all.
    pub fn constant(&self) -> Option<f64> {
        match self {
            Self::Constant(value) => Some(*value),
            _ => None,
        }
    }

    /// The least and the greatest value that can come out.
    pub fn bounds(&self) -> (f64, f64) {
        match self {
            Self::Constant(v) => (*v, *v),
            Self::Values(v) => {
                (v.iter().copied().fold(f64::INFINITY, f64::min), v.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            }
            Self::Uniform { low, high } => (*low, *high),
            // No draw is farther than 8.6 standard deviations out.
            Self::Normal { mean, std, low, high } => (low.max(mean - 8.6 * std), high.min(mean + 8.6 * std)),
        }
    }

    /// Checks that `n` values can be drawn, all of them from `least` to `most`.
    ///
    /// # Errors
    /// `InvalidArgument` that names `what`.
    pub fn check(&self, what: &str, n: usize, (least, most): (f64, f64)) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(what, why));
        match self {
            Self::Values(v) if v.len() != n => return bad(format!("{} values are given for {n}", v.len())),
            Self::Values(v) => {
                if let Some(v) = v.iter().find(|v| !v.is_finite()) {
                    return bad(format!("{v} is not a number"));
                }
            }
            Self::Constant(v) if !v.is_finite() => return bad(format!("{v} is not a number")),
            Self::Uniform { low, high } if !(low.is_finite() && high.is_finite() && low <= high) => {
                return bad(format!("low is {low} and high is {high}; two numbers in this order"));
            }
            Self::Normal { mean, std, low, high } => {
                if !(mean.is_finite() && std.is_finite() && *std >= 0.0) {
                    return bad(format!("mean is {mean} and std is {std}; two numbers, the second not negative"));
                }
                // Farther out, drawing again would go on for very long.
                if !(low <= high && mean + 3.0 * std >= *low && mean - 3.0 * std <= *high && (high - low > 0.01 * std))
                {
                    return bad(format!(
                        "a normal distribution of {mean} ± {std} has next to nothing from {low} to {high}"
                    ));
                }
            }
            _ => {}
        }
        let (from, to) = self.bounds();
        if n > 0 && !(from >= least && to <= most) {
            let range = match (least.is_finite(), most.is_finite()) {
                (true, true) => format!("from {least} to {most}"),
                (true, false) => format!("at least {least}"),
                _ => format!("at most {most}"),
            };
            return bad(format!("values from {from} to {to} may occur; they must be {range}"));
        }
        Ok(())
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Constant(v) => serializer.serialize_f64(*v),
            Self::Values(v) => v.serialize(serializer),
            Self::Uniform { low, high } => {
                let mut s = serializer.serialize_struct("Distribution", 2)?;
                s.serialize_field("low", low)?;
                s.serialize_field("high", high)?;
                s.end()
            }
            Self::Normal { mean, std, low, high } => {
                let n = 2 + usize::from(low.is_finite()) + usize::from(high.is_finite());
                let mut s = serializer.serialize_struct("Distribution", n)?;
                s.serialize_field("mean", mean)?;
                s.serialize_field("std", std)?;
                if low.is_finite() {
                    s.serialize_field("low", low)?;
                }
                if high.is_finite() {
                    s.serialize_field("high", high)?;
                }
                s.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Distribution;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a list of numbers, (mean: …, std: …) or (low: …, high: …)")
            }

            fn visit_f64<E>(self, v: f64) -> std::result::Result<Distribution, E> {
                Ok(Distribution::Constant(v))
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Distribution, E> {
                Ok(Distribution::Constant(v as f64))
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Distribution, E> {
                Ok(Distribution::Constant(v as f64))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Distribution, A::Error> {
                let mut values = Vec::new();
                while let Some(v) = seq.next_element()? {
                    values.push(v);
                }
                Ok(Distribution::Values(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Distribution, A::Error> {
                const FIELDS: [&str; 4] = ["mean", "std", "low", "high"];
                let mut found = [None; 4];
                while let Some(key) = map.next_key::<String>()? {
                    let at = FIELDS.iter().position(|f| *f == key);
                    let at = at
                        .ok_or_else(|| de::Error::custom(format!("\"{key}\" is not one of mean, std, low and high")))?;
                    if found[at].replace(map.next_value::<f64>()?).is_some() {
                        return Err(de::Error::custom(format!("\"{key}\" is given twice")));
                    }
                }
                match found {
                    [Some(mean), Some(std), low, high] => Ok(Distribution::Normal {
                        mean,
                        std,
                        low: low.unwrap_or(f64::NEG_INFINITY),
                        high: high.unwrap_or(f64::INFINITY),
                    }),
                    [None, None, Some(low), Some(high)] => Ok(Distribution::Uniform { low, high }),
                    _ => Err(de::Error::custom("a distribution has mean and std, or low and high")),
                }
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
