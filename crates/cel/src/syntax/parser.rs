//! Tokens to a tree, macros expanded. Faults are reported in the words of upstream's ANTLR grammar.

use std::sync::Arc;

use super::{
    lexer::{Kind, Token, lex},
    literal, macros, operators,
};
use crate::{
    ast::{Ast, Expr, Id, Literal, MapEntry, StructField},
    error::{CompileError, Issues},
};

const MAX_CODE_POINTS: usize = 100_000;
const MAX_DEPTH: u32 = 250;
/// Macros repeat parts of what they expand.
const MAX_NODES: usize = 400_000;

const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const OPERAND: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const OPERAND_OR_LIST_END: &str = "{'[', ']', '{', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const OPERAND_OR_MAP_END: &str = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const FIELD_OR_END: &str = "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}";

/// The tree of an expression, or everything that is wrong with its text.
pub(crate) fn parse(source: &str) -> Result<Ast, CompileError> {
    let text: Vec<char> = source.chars().collect();
    if text.len() > MAX_CODE_POINTS {
        let size = text.len();
        let message = format!("expression code point size exceeds limit: size: {size}, limit {MAX_CODE_POINTS}");
        return Err(CompileError::whole("", message));
    }
    let mut issues = Issues::new();
    let tokens = lex(&text, &mut issues);
    let mut parser = Parser { text: &text, tokens, at: 0, ast: Ast::new(), issues, depth: 0 };
    if let Ok(root) = parser.start() {
        parser.ast.root = root;
    }
    parser.issues.finish(source)?;
    Ok(parser.ast)
}

/// A fault was reported after which nothing sensible can be read.
struct Stop;

type Parsed = Result<Id, Stop>;

pub(crate) struct Parser<'t> {
    text: &'t [char],
    tokens: Vec<Token>,
    at: usize,
    pub(super) ast: Ast,
    issues: Issues,
    depth: u32,
}

impl Parser<'_> {
    fn start(&mut self) -> Parsed {
        let root = self.expr()?;
        let token = self.peek();
        if token.kind != Kind::End {
            let word = if self.ahead(1).kind == Kind::End { "extraneous" } else { "mismatched" };
            self.syntax(token, format!("{word} input '{}' expecting <EOF>", self.shown(token)));
            return Err(Stop);
        }
        Ok(root)
    }

    fn deeper(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.issues.whole(format!("expression recursion limit exceeded: {MAX_DEPTH}"));
            return Err(Stop);
        }
        Ok(())
    }

    fn expr(&mut self) -> Parsed {
        self.deeper()?;
        let condition = self.logic(operators::OR)?;
        let token = self.peek();
        let result = if self.take("?") {
            let then = self.logic(operators::OR)?;
            self.expect(":")?;
            let otherwise = self.expr()?;
            self.call(token.start, operators::CONDITIONAL, vec![condition, then, otherwise])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(result)
    }

    /// `||` over `&&` over relations; chains become balanced trees.
    fn logic(&mut self, function: &'static str) -> Parsed {
        let (sign, inner) = if function == operators::OR { ("||", true) } else { ("&&", false) };
        let mut terms = Vec::new();
        let mut places = Vec::new();
        loop {
            terms.push(if inner { self.logic(operators::AND)? } else { self.binary(0)? });
            let place = self.peek().start;
            if !self.take(sign) {
                break;
            }
            places.push(place);
        }
        if places.is_empty() {
            return Ok(terms[0]);
        }
        Ok(self.balance(function, &terms, &places, 0, places.len() - 1))
    }

    fn balance(&mut self, function: &'static str, terms: &[Id], places: &[u32], low: usize, high: usize) -> Id {
        let middle = (low + high).div_ceil(2);
        let left = if middle == low { terms[middle] } else { self.balance(function, terms, places, low, middle - 1) };
        let right =
            if middle == high { terms[middle + 1] } else { self.balance(function, terms, places, middle + 1, high) };
        self.call(places[middle], function, vec![left, right])
    }

    /// Relations (0), sums (1), products (2): all left-associative.
    fn binary(&mut self, level: u8) -> Parsed {
        let depth = self.depth;
        let mut left = if level == 2 { self.unary()? } else { self.binary(level + 1)? };
        loop {
            let token = self.peek();
            let Kind::Sign(sign) = token.kind else { break };
            let function = match (level, sign) {
                (0, "<") => "_<_",
                (0, "<=") => "_<=_",
                (0, ">") => "_>_",
                (0, ">=") => "_>=_",
                (0, "==") => operators::EQUALS,
                (0, "!=") => operators::NOT_EQUALS,
                (0, "in") => operators::IN,
                (1, "+") => operators::ADD,
                (1, "-") => "_-_",
                (2, "*") => "_*_",
                (2, "/") => "_/_",
                (2, "%") => "_%_",
                _ => break,
            };
            self.at += 1;
            self.deeper()?;
            let right = if level == 2 { self.unary()? } else { self.binary(level + 1)? };
            left = self.call(token.start, function, vec![left, right]);
        }
        self.depth = depth;
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let first = self.peek();
        for (sign, function) in [("!", operators::NOT), ("-", operators::NEGATE)] {
            // A sign before a number belongs to the number, unless there are several.
            let number = sign == "-" && matches!(self.ahead(1).kind, Kind::Int | Kind::Float);
            if first.kind != Kind::Sign(sign) || number {
                continue;
            }
            let mut count = 0;
            while self.take(sign) {
                count += 1;
            }
            let operand = self.member()?;
            if count % 2 == 0 {
                return Ok(operand);
            }
            return Ok(self.call(first.start, function, vec![operand]));
        }
        self.member()
    }

    fn member(&mut self) -> Parsed {
        let depth = self.depth;
        let mut operand = self.primary()?;
        loop {
            let token = self.peek();
            if self.take(".") {
                self.deeper()?;
                let optional = self.take("?");
                let name = self.peek();
                if name.kind == Kind::Ident && !optional && self.ahead(1).kind == Kind::Sign("(") {
                    let function = self.text_of(name);
                    let place = self.ahead(1).start;
                    self.at += 2;
                    let args = self.arguments()?;
                    operand = self.call_or_macro(place, &function, Some(operand), args);
                    if self.ast.len() > MAX_NODES {
                        self.issues.whole(format!("expression recursion limit exceeded: {MAX_DEPTH}"));
                        return Err(Stop);
                    }
                    continue;
                }
                let field = self.field_name(token)?;
                operand = if optional {
                    let literal = self.ast.push(name.start, Expr::Literal(Literal::String(field)));
                    self.call(token.start, operators::OPT_SELECT, vec![operand, literal])
                } else {
                    self.ast.push(token.start, Expr::Select { operand, field, test_only: false })
                };
            } else if self.take("[") {
                self.deeper()?;
                let function = if self.take("?") { operators::OPT_INDEX } else { operators::INDEX };
                let index = self.expr()?;
                self.expect("]")?;
                operand = self.call(token.start, function, vec![operand, index]);
            } else {
                break;
            }
        }
        self.depth = depth;
        Ok(operand)
    }

    fn field_name(&mut self, dot: Token) -> Result<Arc<str>, Stop> {
        let token = self.peek();
        match token.kind {
            Kind::Ident => {
                self.at += 1;
                Ok(self.text_of(token).into())
            }
            Kind::Escaped => {
                self.at += 1;
                let text = self.text_of(token);
                Ok(text.trim_matches('`').into())
            }
            Kind::Sign(word @ ("true" | "false" | "null")) if self.tokens[self.at - 1].start == dot.start => {
                self.syntax(token, format!("mismatched input '{word}' expecting IDENTIFIER"));
                Err(Stop)
            }
            _ => {
                let shown: String = self.text[dot.start as usize..token.end as usize].iter().collect();
                self.syntax(token, format!("no viable alternative at input '{shown}'"));
                Err(Stop)
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek();
        let text = self.text_of(token);
        let literal = match token.kind {
            Kind::Sign("(") => {
                self.at += 1;
                let inner = self.expr()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Kind::Sign("[") => return self.list(),
            Kind::Sign("{") => return self.map(),
            Kind::Sign(".") if self.ahead(1).kind == Kind::Ident => return self.name(),
            Kind::Ident => return self.name(),
            Kind::Sign("-") if matches!(self.ahead(1).kind, Kind::Int | Kind::Float) => {
                self.at += 1;
                let number = self.peek();
                let text = self.text_of(number);
                self.at += 1;
                let value =
                    if number.kind == Kind::Int { int(&format!("-{text}")) } else { double(&format!("-{text}")) };
                return Ok(self.literal(token.start, value));
            }
            Kind::Sign("true") => Ok(Literal::Bool(true)),
            Kind::Sign("false") => Ok(Literal::Bool(false)),
            Kind::Sign("null") => Ok(Literal::Null),
            Kind::Int => int(&text),
            Kind::Uint => uint(&text),
            Kind::Float => double(&text),
            Kind::String => literal::string(&text).map(|text| Literal::String(text.into())),
            Kind::Bytes => literal::bytes(&text[1..]).map(|bytes| Literal::Bytes(bytes.into())),
            Kind::Sign(_) | Kind::End | Kind::Escaped => {
                self.unexpected_operand(OPERAND)?;
                return self.primary();
            }
        };
        self.at += 1;
        Ok(self.literal(token.start, literal))
    }

    fn literal(&mut self, offset: u32, value: Result<Literal, &'static str>) -> Id {
        let value = value.unwrap_or_else(|message| {
            self.issues.at(offset, message);
            Literal::Null
        });
        self.ast.push(offset, Expr::Literal(value))
    }

    /// A name, a call of a function by name, or a message: `a`, `.a`, `a(…)`, `a.b{…}`.
    fn name(&mut self) -> Parsed {
        let first = self.peek();
        let dotted = self.take(".");
        let token = self.peek();
        let mut name = self.text_of(token);
        if dotted {
            name.insert(0, '.');
        }
        if let Some(length) = self.message_name() {
            for _ in 1..length {
                self.at += 2;
                let part = self.text_of(self.peek());
                name.push('.');
                name.push_str(&part);
            }
            self.at += 1;
            return self.message(name.into());
        }
        self.at += 1;
        if RESERVED.contains(&name.trim_start_matches('.')) {
            let word = name.trim_start_matches('.').to_owned();
            self.issues.at(first.start, format!("reserved identifier: {word}"));
            if self.take("(") {
                self.arguments()?;
            }
            return Ok(self.ast.push(first.start, Expr::Literal(Literal::Null)));
        }
        let open = self.peek();
        if self.take("(") {
            let args = self.arguments()?;
            return Ok(self.call_or_macro(open.start, &name, None, args));
        }
        Ok(self.ast.push(token.start, Expr::Ident(name.into())))
    }

    /// How many names, joined by dots, stand before an opening brace.
    fn message_name(&self) -> Option<usize> {
        let mut ahead = 0;
        let mut names = 0;
        loop {
            if self.ahead(ahead).kind != Kind::Ident {
                return None;
            }
            names += 1;
            match self.ahead(ahead + 1).kind {
                Kind::Sign("{") => return Some(names),
                Kind::Sign(".") => ahead += 2,
                _ => return None,
            }
        }
    }

    fn arguments(&mut self) -> Result<Vec<Id>, Stop> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if !self.take(",") {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn list(&mut self) -> Parsed {
        let open = self.peek();
        self.at += 1;
        let mut elements = Vec::new();
        loop {
            if self.take("]") {
                break;
            }
            let optional = self.take("?");
            if !optional && elements.is_empty() && !self.operand_next() {
                if self.peek().kind == Kind::Sign(",") && self.ahead(1).kind == Kind::Sign("]") {
                    self.at += 2;
                    break;
                }
                self.unexpected_operand(OPERAND_OR_LIST_END)?;
            }
            elements.push((self.expr()?, optional));
            if !self.take(",") {
                self.expect_any(&["]", ","])?;
                break;
            }
        }
        Ok(self.ast.push(open.start, Expr::List(elements)))
    }

    fn map(&mut self) -> Parsed {
        let open = self.peek();
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            if self.take("}") {
                break;
            }
            let optional = self.take("?");
            if !optional && entries.is_empty() && !self.operand_next() {
                if self.peek().kind == Kind::Sign(",") && self.ahead(1).kind == Kind::Sign("}") {
                    self.at += 2;
                    break;
                }
                self.unexpected_operand(OPERAND_OR_MAP_END)?;
            }
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(MapEntry { key, value, optional });
            if !self.take(",") {
                self.expect_any(&["}", ","])?;
                break;
            }
        }
        Ok(self.ast.push(open.start, Expr::Map(entries)))
    }

    fn message(&mut self, name: Arc<str>) -> Parsed {
        let open = self.peek();
        self.at += 1;
        let mut fields = Vec::new();
        loop {
            if self.take("}") {
                break;
            }
            let optional = self.take("?");
            let token = self.peek();
            if !matches!(token.kind, Kind::Ident | Kind::Escaped) {
                let fits = matches!(self.ahead(1).kind, Kind::Ident | Kind::Escaped | Kind::Sign("}"));
                let word = if fits { "extraneous" } else { "mismatched" };
                self.syntax(token, format!("{word} input '{}' expecting {FIELD_OR_END}", self.shown(token)));
                if !fits {
                    return Err(Stop);
                }
                self.at += 1;
                continue;
            }
            self.at += 1;
            let field: Arc<str> = self.text_of(token).trim_matches('`').into();
            let colon = self.peek();
            self.expect(":")?;
            let value = self.expr()?;
            fields.push(StructField { offset: colon.start, name: field, value, optional });
            if !self.take(",") {
                self.expect_any(&["}", ","])?;
                break;
            }
        }
        Ok(self.ast.push(open.start, Expr::Struct { name, fields }))
    }

    // === building ===

    pub(super) fn call(&mut self, offset: u32, function: &str, args: Vec<Id>) -> Id {
        self.ast.push(offset, Expr::Call { target: None, function: function.into(), args })
    }

    fn call_or_macro(&mut self, offset: u32, function: &str, target: Option<Id>, args: Vec<Id>) -> Id {
        match macros::expand(&mut self.ast, offset, function, target, &args) {
            None => self.ast.push(offset, Expr::Call { target, function: function.into(), args }),
            Some(Ok(id)) => id,
            Some(Err(fault)) => {
                self.issues.at(fault.offset, fault.message);
                self.ast.push(offset, Expr::Literal(Literal::Null))
            }
        }
    }

    // === tokens ===

    fn peek(&self) -> Token {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> Token {
        // The list ends with an End token, which stays.
        self.tokens[(self.at + count).min(self.tokens.len() - 1)]
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek().kind, Kind::Sign(text) if text == sign);
        self.at += usize::from(found);
        found
    }

    fn text_of(&self, token: Token) -> String {
        self.text[token.start as usize..token.end as usize].iter().collect()
    }

    fn shown(&self, token: Token) -> String {
        if token.kind == Kind::End {
            return "<EOF>".to_owned();
        }
        self.text_of(token).replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
    }

    fn syntax(&mut self, token: Token, message: String) {
        self.issues.at(token.start, format!("Syntax error: {message}"));
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Stop> {
        if self.take(sign) {
            return Ok(());
        }
        let token = self.peek();
        let shown = self.shown(token);
        if self.ahead(1).kind == Kind::Sign(sign) && token.kind != Kind::End {
            self.syntax(token, format!("extraneous input '{shown}' expecting '{sign}'"));
            self.at += 2;
            return Ok(());
        }
        if token.kind == Kind::End && sign != ":" {
            self.syntax(token, format!("missing '{sign}' at '{shown}'"));
        } else {
            self.syntax(token, format!("mismatched input '{shown}' expecting '{sign}'"));
        }
        Err(Stop)
    }

    fn expect_any(&mut self, signs: &[&'static str]) -> Result<(), Stop> {
        if self.take(signs[0]) {
            return Ok(());
        }
        let token = self.peek();
        let shown = self.shown(token);
        let list: Vec<String> = signs.iter().map(|sign| format!("'{sign}'")).collect();
        let list = list.join(", ");
        if self.ahead(1).kind == Kind::Sign(signs[0]) && token.kind != Kind::End {
            self.syntax(token, format!("extraneous input '{shown}' expecting {{{list}}}"));
            self.at += 2;
            return Ok(());
        }
        self.syntax(token, format!("mismatched input '{shown}' expecting {{{list}}}"));
        Err(Stop)
    }

    fn operand_next(&self) -> bool {
        starts_operand(self.peek().kind)
    }

    /// Reports a token that cannot start an operand. It is skipped where one follows it.
    fn unexpected_operand(&mut self, expected: &str) -> Result<(), Stop> {
        let token = self.peek();
        let shown = self.shown(token);
        if token.kind != Kind::End && starts_operand(self.ahead(1).kind) {
            self.syntax(token, format!("extraneous input '{shown}' expecting {expected}"));
            self.at += 1;
            return Ok(());
        }
        self.syntax(token, format!("mismatched input '{shown}' expecting {expected}"));
        if token.kind != Kind::End && expected == OPERAND {
            let next = self.ahead(1);
            let shown = self.shown(next);
            self.syntax(next, format!("mismatched input '{shown}' expecting {expected}"));
        }
        Err(Stop)
    }
}

fn starts_operand(kind: Kind) -> bool {
    match kind {
        Kind::Sign(sign) => matches!(sign, "[" | "{" | "(" | "." | "-" | "!" | "true" | "false" | "null"),
        Kind::Float | Kind::Int | Kind::Uint | Kind::String | Kind::Bytes | Kind::Ident => true,
        Kind::End | Kind::Escaped => false,
    }
}

fn int(text: &str) -> Result<Literal, &'static str> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let parsed = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
        None => text.parse(),
    };
    parsed.map(Literal::Int).map_err(|_| "invalid int literal")
}

fn uint(text: &str) -> Result<Literal, &'static str> {
    let text = &text[..text.len() - 1];
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map(Literal::Uint).map_err(|_| "invalid uint literal")
}

fn double(text: &str) -> Result<Literal, &'static str> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Literal::Double(value)),
        _ => Err("invalid double literal"),
    }
}
