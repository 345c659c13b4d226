//! Signs and styles. Nothing is told by a style alone: a word says the same.

/// How text is marked: with ANSI escape codes, which the writer removes where they are not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    is_ascii: bool,
}

/// What a sign says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// All is well.
    Well,
    /// Something is missing, and waiting may mend it.
    Waits,
    /// Something is wrong.
    Wrong,
    /// Nothing runs.
    Empty,
}

const RESET: &str = "\u{1b}[0m";

impl Signs {
    /// Signs in letters where the terminal has no others.
    #[must_use]
    pub fn new(is_ascii: bool) -> Self {
        Self { is_ascii }
    }

    /// The sign.
    #[must_use]
    pub fn sign(self, sign: Sign) -> &'static str {
        match (sign, self.is_ascii) {
            (Sign::Well, false) => "✔",
            (Sign::Well, true) => "+",
            (Sign::Waits, false) => "◷",
            (Sign::Waits, true) => "~",
            (Sign::Wrong, false) => "✖",
            (Sign::Wrong, true) => "x",
            (Sign::Empty, false) => "○",
            (Sign::Empty, true) => "o",
        }
    }

    /// The beginning of a line in a tree.
    #[must_use]
    pub fn branch(self, is_last: bool) -> &'static str {
        match (is_last, self.is_ascii) {
            (false, false) => "├─",
            (true, false) => "└─",
            (false, true) => "|-",
            (true, true) => "`-",
        }
    }

    /// A text without any sign that a plain terminal lacks.
    #[must_use]
    pub fn plain(self, text: &str) -> String {
        if self.is_ascii { text.replace('·', "-").replace('⚠', "!") } else { text.to_owned() }
    }
}

impl Sign {
    /// A text in the colour of the sign.
    #[must_use]
    pub fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Well => "\u{1b}[32m",
            Self::Waits => "\u{1b}[33m",
            Self::Wrong => "\u{1b}[31m",
            Self::Empty => "\u{1b}[2m",
        };
        format!("{code}{text}{RESET}")
    }
}
