//! Every object of upstream's test data, in JSON and protobuf, both ways.

mod fixtures;
