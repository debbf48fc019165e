//! The templates of notifications, and the replacement of their placeholders.

use shop_common::Invalid;

use crate::model::Field;

/// The maximum length of a placeholder's value, in bytes.
const MAX_VALUE: usize = 256;

/// A text with placeholders, each written `{name}`.
#[derive(Debug)]
pub struct Template {
    name: &'static str,
    /// The names of the placeholders, sorted.
    places: &'static [&'static str],
    text: &'static str,
}

const TEMPLATES: &[Template] = &[
    Template {
        name: "order-placed",
        places: &["order", "total"],
        text: "Thank you! Your order {order} over {total} was placed.",
    },
    Template {
        name: "order-cancelled",
        places: &["order", "total"],
        text: "Your order {order} over {total} was cancelled. What was charged is given back.",
    },
];

impl Template {
    /// Returns the template of a notification that is called `name`.
    ///
    /// # Errors
    ///
    /// There is no such template.
    pub fn find(name: &str) -> Result<&'static Template, Invalid> {
        TEMPLATES.iter().find(|template| template.name == name).ok_or_else(|| {
            let names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
            Invalid::new("template", format!("must be one of: {}", names.join(", ")))
        })
    }

    /// Validates fields and sorts them by name. There must be exactly one field for each placeholder.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for the first field that is unknown, repeated, missing or has a value that is not allowed.
    pub fn arrange(&self, mut fields: Vec<Field>) -> Result<Vec<Field>, Invalid> {
        for (index, field) in fields.iter().enumerate() {
            let at = |part: &str| format!("fields[{index}].{part}");
            if !self.places.contains(&field.name.as_str()) {
                return Err(Invalid::new(at("name"), format!("must be one of: {}", self.places.join(", "))));
            }
            if fields[..index].iter().any(|earlier| earlier.name == field.name) {
                return Err(Invalid::new(at("name"), "must not be given twice"));
            }
            if field.value.len() > MAX_VALUE {
                return Err(Invalid::new(at("value"), format!("must not be longer than {MAX_VALUE} bytes")));
            }
            // Without control characters, a notice takes one line of the log, and a field one line of its database column.
            if field.value.contains(char::is_control) {
                return Err(Invalid::new(at("value"), "must not have control characters"));
            }
        }
        if let Some(missing) = self.places.iter().find(|place| fields.iter().all(|field| field.name != **place)) {
            return Err(Invalid::new("fields", format!("must have a field named {missing}")));
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(fields)
    }

    /// Renders the text with its placeholders replaced. A value is never searched for placeholders.
    pub fn render(&self, fields: &[Field]) -> String {
        let mut rendered = String::new();
        let mut rest = self.text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) = after.split_once('}').expect("every place of a template is closed");
            let field = fields.iter().find(|field| field.name == place).expect("every place has a field");
            rendered.push_str(before);
            rendered.push_str(&field.value);
            rest = after;
        }
        rendered + rest
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
        pairs.iter().map(|(name, value)| Field { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
    }

    #[test]
    fn every_template_renders_with_its_places_and_no_others() {
        for template in TEMPLATES {
            assert!(template.places.is_sorted());
            let pairs: Vec<_> = template.places.iter().map(|place| (*place, "<>")).collect();
            let rendered = template.render(&template.arrange(fields(&pairs)).unwrap());
            assert_eq!(rendered.matches("<>").count(), template.places.len(), "{rendered}");
        }
    }

    #[test]
    fn values_are_not_read_again() {
        let template = Template::find("order-placed").unwrap();
        let fields = template.arrange(fields(&[("total", "{order}"), ("order", "{total}")])).unwrap();
        assert_eq!(template.render(&fields), "Thank you! Your order {total} over {order} was placed.");
    }

    #[test]
    fn fields_fit_the_template() {
        let template = Template::find("order-placed").unwrap();
        let refused = |pairs: &[(&str, &str)]| template.arrange(fields(pairs)).unwrap_err().field;
        assert_eq!(refused(&[("order", "1")]), "fields");
        assert_eq!(refused(&[("order", "1"), ("colour", "red")]), "fields[1].name");
        assert_eq!(refused(&[("order", "1"), ("order", "2")]), "fields[1].name");
        assert_eq!(refused(&[("order", "1\n2"), ("total", "2")]), "fields[0].value");
        assert_eq!(refused(&[("order", &"1".repeat(257)), ("total", "2")]), "fields[0].value");
        assert_eq!(Template::find("hello").unwrap_err().field, "template");
    }
}
