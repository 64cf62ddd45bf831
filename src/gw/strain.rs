//! strain
