//! Predicates over Arrow batches: bounded SQL text, planned and evaluated with DataFusion.
