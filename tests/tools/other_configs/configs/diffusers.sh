export MODEL_NAME="runwayml/stable-diffusion-v1-5"
accelerate launch --mixed_precision="fp16" train_text_to_image_lora.py \
  --pretrained_model_name_or_path=runwayml/stable-diffusion-v1-5 --train_data_dir=./pokemon --caption_column="text" \
  --resolution=512 --random_flip --train_batch_size=1 --gradient_accumulation_steps=4 --num_train_epochs=100 \
  --checkpointing_steps=500 --learning_rate=1e-04 --max_grad_norm=1 --lr_scheduler="cosine" --lr_warmup_steps=0 --seed=42 \
  --snr_gamma=5.0 --validation_prompt="cute dragon creature" --num_validation_images=4 --report_to="wandb" --rank=8
