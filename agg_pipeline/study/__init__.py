"""The study: fine-tuning from several sources and its ablations, evaluated on several sets, as one resumable run."""
