//! Evaluates expressions, one a line as JSON text on standard input, and prints value or error and cost, one a line.
//!
//! `echo '"1 + 1"' | cargo run -p cel --example evaluate`

use std::io::{BufRead as _, Write as _};

use cel::{Env, Mode, PER_CALL_LIMIT, Value};

fn main() -> std::io::Result<()> {
    let env = Env::new(Mode::NewExpressions);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?).map_err(std::io::Error::other)?;
        let answer = match env.compile(&text) {
            Err(error) => serde_json::json!({"compile": error.detail()}),
            Ok(program) => {
                let none: &[(&str, Value<'_>)] = &[];
                let outcome = program.eval(&none, PER_CALL_LIMIT);
                let value = match &outcome.result {
                    Ok(value) => serde_json::json!({"type": value.type_of().to_string(), "value": value.to_string()}),
                    Err(error) => serde_json::json!({"error": error.to_string()}),
                };
                let estimate = program.estimate(&cel::NoSizes);
                serde_json::json!({"result": value, "cost": outcome.cost, "min": estimate.min, "max": estimate.max})
            }
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
