//! Every object of upstream's test data, in JSON and protobuf, both ways.

#[cfg(test)]
mod fixtures;
