//! Reading RON, with mistakes told by line, column and field.

use ron::Options;
use ron::error::{Error as Mistake, SpannedError};
use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

/// `Some(…)` and the inner pair of parentheses of `IafPscExp((…))` may be left out.
pub(crate) fn options() -> Options {
    Options::default().with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES)
}

/// What a text describes, or what is wrong with it and where.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    let options = options();
    let mut reader = ron::de::Deserializer::from_str_with_options(text, &options).map_err(|e| located(&e, None))?;
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let place = error.path().to_string();
        located(&reader.span_error(error.into_inner()), Some(place))
    })?;
    reader.end().map_err(|e| located(&reader.span_error(e), None))?;
    Ok(value)
}

/// `line 3, column 7: populations[0].neuron: what is wrong`.
fn located(error: &SpannedError, place: Option<String>) -> String {
    let at = error.span.end;
    let place = place.filter(|place| place != "." && place != "?");
    let place = place.map_or(String::new(), |place| format!("{}: ", place.trim_end_matches(".?")));
    format!("line {}, column {}: {place}{}", at.line, at.col, told(&error.code))
}

fn told(mistake: &Mistake) -> String {
    match mistake {
        Mistake::MissingStructField { field, .. } => format!("the field \"{field}\" is missing"),
        Mistake::NoSuchStructField { expected, found, .. } => {
            format!("there is no field \"{found}\"; the fields are {}", expected.join(", "))
        }
        Mistake::NoSuchEnumVariant { expected, found, .. } => format!("\"{found}\" is none of {}", expected.join(", ")),
        Mistake::DuplicateStructField { field, .. } => format!("the field \"{field}\" is given twice"),
        Mistake::InvalidValueForType { expected, found } => format!("{expected} is expected, not {found}"),
        Mistake::Eof => "the file ends too early".into(),
        Mistake::TrailingCharacters => "something follows behind the description".into(),
        other => {
            let text = other.to_string();
            let mut letters = text.chars();
            letters.next().map_or(String::new(), |first| first.to_lowercase().collect::<String>() + letters.as_str())
        }
    }
}
