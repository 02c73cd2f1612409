//! What is wrong with an expression: when it is compiled, and when it is evaluated.
//!
//! Upstream counterparts: `cel-go/common/errors.go` (the display with source line and pointer) and `common/types/err.go`.

use std::{borrow::Cow, fmt};

/// One fault of an expression, with the place it was found at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Code points before the place; none when the fault is of the expression as a whole.
    pub offset: Option<u32>,
    pub message: String,
}

/// Everything that is wrong with an expression. Displays as upstream's compiler does, one block an issue:
///
/// ```text
/// ERROR: <input>:1:6: undeclared reference to 'foo' (in container '')
///  | 1 + foo
///  | ....^
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    source_text: String,
    issues: Vec<Issue>,
    /// The expression is well-formed, but a part of it that is constant fails.
    instantiation: bool,
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression's own fault; `||`, `&&` and their macros absorb it.
    #[error("{0}")]
    Failed(Cow<'static, str>),
    /// Nothing absorbs it.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
}

impl EvalError {
    pub const NO_OVERLOAD: Self = Self::new("no such overload");

    pub const fn new(message: &'static str) -> Self {
        Self::Failed(Cow::Borrowed(message))
    }

    pub fn text(message: impl Into<String>) -> Self {
        Self::Failed(Cow::Owned(message.into()))
    }
}

/// Collects issues up to upstream's bound.
pub(crate) struct Issues {
    issues: Vec<Issue>,
    count: usize,
}

const MAX_ISSUES: usize = 100;
const MAX_SNIPPET: usize = 16_384;

impl Issues {
    pub(crate) fn new() -> Self {
        Self { issues: Vec::new(), count: 0 }
    }

    pub(crate) fn at(&mut self, offset: u32, message: impl Into<String>) {
        self.push(Some(offset), message.into());
    }

    pub(crate) fn whole(&mut self, message: impl Into<String>) {
        self.push(None, message.into());
    }

    fn push(&mut self, offset: Option<u32>, message: String) {
        self.count += 1;
        if self.count <= MAX_ISSUES {
            self.issues.push(Issue { offset, message });
        }
    }

    pub(crate) fn finish(mut self, source: &str) -> Result<(), CompileError> {
        if self.count == 0 {
            return Ok(());
        }
        self.issues.sort_by_key(|issue| issue.offset.map_or(-1, i64::from));
        if self.count > MAX_ISSUES {
            let more = self.count - MAX_ISSUES;
            self.issues.push(Issue { offset: None, message: format!("{more} more errors were truncated") });
        }
        Err(CompileError { source_text: source.to_owned(), issues: self.issues, instantiation: false })
    }
}

impl CompileError {
    /// In the order of their places.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    pub(crate) fn whole(source: &str, message: impl Into<String>) -> Self {
        let issues = vec![Issue { offset: None, message: message.into() }];
        Self { source_text: source.to_owned(), issues, instantiation: false }
    }

    pub(crate) fn instantiation(error: &EvalError) -> Self {
        let issues = vec![Issue { offset: None, message: error.to_string() }];
        Self { source_text: String::new(), issues, instantiation: true }
    }

    /// Whether the expression is well-formed and a constant part of it fails: upstream reports that as
    /// `program instantiation failed`, everything else as `compilation failed`.
    pub fn is_instantiation(&self) -> bool {
        self.instantiation
    }

    /// `compilation failed: …` or `program instantiation failed: …`, as API errors have it.
    pub fn detail(&self) -> String {
        let what = if self.instantiation { "program instantiation failed" } else { "compilation failed" };
        format!("{what}: {self}")
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            if self.instantiation {
                return f.write_str(&issue.message);
            }
            if index > 0 {
                f.write_str("\n")?;
            }
            if index == MAX_ISSUES {
                return f.write_str(&issue.message);
            }
            issue.display(&self.source_text, f)?;
        }
        Ok(())
    }
}

impl Issue {
    fn display(&self, source: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(offset) = self.offset else {
            return write!(f, "ERROR: <input>:-1:0: {}", self.message);
        };
        let (mut line, mut column) = (1, 0_usize);
        let mut start = 0;
        for (at, (index, char)) in source.char_indices().enumerate() {
            if at == offset as usize {
                break;
            }
            if char == '\n' {
                line += 1;
                column = 0;
                start = index + 1;
            } else {
                column += 1;
            }
        }
        write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, self.message)?;
        let snippet = source[start..].split('\n').next().unwrap_or_default();
        if snippet.len() > MAX_SNIPPET {
            return Ok(());
        }
        let snippet = snippet.replace('\t', " ");
        write!(f, "\n | {snippet}\n | ")?;
        let mut chars = snippet.chars();
        for _ in 0..column {
            match chars.next() {
                None => break,
                Some(char) => f.write_str(if char.len_utf8() > 1 { "\u{ff0e}" } else { "." })?,
            }
        }
        let wide = chars.next().is_some_and(|char| char.len_utf8() > 1);
        f.write_str(if wide { "\u{ff3e}" } else { "^" })
    }
}
