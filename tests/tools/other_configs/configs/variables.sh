#!/bin/bash
export MODEL_NAME="stabilityai/stable-diffusion-xl-base-1.0"
INSTANCE_DIR=./teapot
# python train_dreambooth_lora.py --pretrained_model_name_or_path=$MODEL_NAME --rank=99
accelerate launch train_dreambooth_lora_sdxl.py \
  --pretrained_model_name_or_path=$MODEL_NAME --instance_data_dir="${INSTANCE_DIR}" --instance_prompt="a photo of sks teapot" \
  --mixed_precision="fp16" --resolution=1024 --train_batch_size=1 --gradient_accumulation_steps=4 --learning_rate=1e-4 \
  --lr_scheduler="piecewise_constant" --lr_warmup_steps=0 --max_train_steps=500 --push_to_hub # and nothing else
