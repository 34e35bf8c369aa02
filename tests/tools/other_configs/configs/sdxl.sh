#!/bin/bash
export CUDA_VISIBLE_DEVICES=0
accelerate launch --num_cpu_threads_per_process 8 sd-scripts/sdxl_train_network.py \
  --pretrained_model_name_or_path="/models/sd_xl_base_1.0.safetensors" \
  --dataset_config="./dataset.toml" \
  --output_dir="./out" --output_name="fox style" \
  --network_module=lycoris.kohya --network_dim=8 --network_alpha=4 \
  --network_args "algo=lokr" "conv_dim=8" "conv_alpha=4" "factor=8" \
  --optimizer_type="Prodigy" --optimizer_args "decouple=True" "weight_decay=0.01" "d_coef=2" "use_bias_correction=True" \
  --learning_rate=1 --lr_scheduler="cosine" --lr_warmup_steps=0.1 \
  --max_train_steps=2000 --train_batch_size=4 --mixed_precision="bf16" --full_bf16 \
  --gradient_checkpointing --sdpa --cache_latents_to_disk --network_train_unet_only \
  --multires_noise_iterations 6 --multires_noise_discount 0.3 --max_grad_norm 0 --persistent_data_loader_workers
