//! Who may do what: generated policies and requests, compared with an evaluator that was written apart from the server
//! and knows nothing but what the API shows of roles, bindings and pods.

mod evaluator;
mod generated;
mod matrix;
mod nodes;
