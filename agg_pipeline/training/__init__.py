"""Fine-tuning (GCL) and pre-training of click models.

Where to find what, from the command down to one update:

- Commands: ``finetune`` and ``pretrain`` load everything that a training needs and check that it fits together;
  ``train_and_save`` runs it, saves the result and writes the page.
- Inputs of fine-tuning: ``proposal_databases``, ``training_images``, ``mask_rows`` (which masks, drawn how often).
  Inputs of pre-training: ``training_datasets``. Of both: ``trained_model`` (first weights, adapter, result).
- Samples: ``proposal_samples`` (fine-tuning), ``object_samples`` (pre-training), ``training_sample`` (crop, colours and
  clicks of one sample), ``training_batches`` (their order, and the processes that prepare them).
- Loop: ``training_processes`` (launching), ``training_loop`` (step after step), ``training_step`` (one update),
  ``training_methods`` (optimiser and loss), ``learning_rate`` (schedules), ``training_errors``.
- Output: ``training_folder`` (its files, and who may use it), ``training_checkpoint``, ``training_log`` (CSV files),
  ``training_monitor`` (terminal and logs), ``training_validation`` (masks and steps), ``validation_pictures``,
  ``training_page``.
"""
