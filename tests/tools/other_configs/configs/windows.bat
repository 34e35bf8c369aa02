@echo off
call venv\Scripts\activate
accelerate launch --mixed_precision fp16 train_network.py ^
  --pretrained_model_name_or_path "E:\sd\v1-5-pruned.safetensors" ^
  --train_data_dir "E:\lora\cat" ^
  --network_module networks.lora --network_dim 8 ^
  --network_args conv_dim=4 conv_alpha=1 rank_dropout=0.1 loraplus_lr_ratio=16 ^
  --optimizer_type Lion --learning_rate 2e-5 --loss_type huber --huber_schedule snr --huber_c 0.1 ^
  --lr_scheduler constant_with_warmup --lr_warmup_steps 50 --max_train_steps 800 --resolution 512 --zero_terminal_snr
