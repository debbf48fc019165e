//! Defines the closed sets of words that a manifest may use. Each is an enum that lists its words in the error for an unknown one.

/// The error that a word is not in a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {known}")]
pub struct UnknownWord {
    /// The unknown word.
    pub text: String,
    /// The words of the set, for a message: "`reuse`, `fresh`".
    pub known: String,
}

/// Defines an enum whose values are written as the given words, and an error that lists these words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$word_doc])* $word,)+
        }

        impl $name {
            /// All values, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$word,)+];

            /// Returns the word for this value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::config::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let known: Vec<String> = Self::ALL.iter().map(|word| format!("`{word}`")).collect();
                    $crate::config::words::UnknownWord { text: text.to_owned(), known: known.join(", ") }
                })
            }
        }
    };
}

pub(super) use words;

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro's enums are public where they are used")]
mod tests {
    words! {
        /// A set of two words.
        Pair {
            /// The first word.
            First = "first",
            /// The second word.
            Second = "second",
        }
    }

    #[test]
    fn a_word_that_is_none_names_those_that_are() {
        assert_eq!("second".parse(), Ok(Pair::Second));
        let refused = "Second".parse::<Pair>().expect_err("no such word");
        assert_eq!(refused.to_string(), "`Second` is none of `first`, `second`");
    }
}
