"""Fine-tuning (GCL) and pre-training of click models.

Where to find what, from the command down to one update:

- ``finetune``, ``pretrain``: load everything that a training needs and check that it fits together; ``run``: train,
  save the result, write the page.
- Inputs: ``training_databases``, ``training_images``, ``mask_rows`` (which masks, drawn how often), ``proposal_masks``;
  ``dataset_choice``, ``dataset_mixture``; ``base_model``; ``validation_masks``.
- Samples: ``proposal_samples``, ``object_samples``, ``training_sample`` (crop, colours, clicks), ``image_cache``;
  ``batch_order``, ``training_batch``, ``batch_loader`` (processes that prepare batches).
- Loop: ``training_processes`` (launching), ``training_loop``, ``training_step`` (one update), ``training_methods``
  (optimiser, loss), ``learning_rate`` (schedules), ``training_errors``.
- Output: ``training_folder`` (names of files), ``folder_claim``, ``training_checkpoint``, ``training_identity``,
  ``training_log``, ``training_lines`` (terminal), ``training_monitor``, ``validation_step``, ``validation_pictures``,
  ``training_page``, ``training_facts``, ``training_result``.
"""
