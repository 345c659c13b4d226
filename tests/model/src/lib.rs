//! A crate of its own for the exhaustive model in `tests/ledger/`, so that the model is built with optimisations while
//! flipguard's own tests are not.
