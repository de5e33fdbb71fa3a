"""Replies and register dumps as boards gave them."""

from __future__ import annotations

# A Raspberry Pi 5 at rest: `vcgencmd pmic_read_adc`, published with jfikar/RPi5-power
PMIC_IDLE = """\
  3V7_WL_SW_A current(0)=0.00195186A
    3V3_SYS_A current(1)=0.12589500A
    1V8_SYS_A current(2)=0.23129540A
   DDR_VDD2_A current(3)=0.00000000A
   DDR_VDDQ_A current(4)=0.00000000A
    1V1_SYS_A current(5)=0.18835450A
     0V8_SW_A current(6)=0.30644200A
   VDD_CORE_A current(7)=0.82156000A
    3V3_DAC_A current(17)=0.00000000A
    3V3_ADC_A current(18)=0.00000000A
    0V8_AON_A current(16)=0.00311355A
       HDMI_A current(22)=0.00036630A
  3V7_WL_SW_V volt(8)=3.70720000V
    3V3_SYS_V volt(9)=3.30260900V
    1V8_SYS_V volt(10)=1.81294100V
   DDR_VDD2_V volt(11)=1.10732500V
   DDR_VDDQ_V volt(12)=0.60183090V
    1V1_SYS_V volt(13)=1.10622600V
     0V8_SW_V volt(14)=0.80146440V
   VDD_CORE_V volt(15)=0.81203820V
    3V3_DAC_V volt(20)=3.30952000V
    3V3_ADC_V volt(21)=3.31226800V
    0V8_AON_V volt(19)=0.79912020V
       HDMI_V volt(23)=5.12416000V
      EXT5V_V volt(24)=5.13756000V
       BATT_V volt(25)=0.00000000V
"""
PMIC_IDLE_W = 1.97  # the sum of its twelve rails, to the published digits

# Registers {number: (value, bytes)}: identities and settings as the data sheets have them at power-on, and a board that takes 5.1 V
# and 0.6 A through 0.1 Ohm (60 mV).
INA219 = {0: (0x399F, 2), 1: (6000, 2), 2: (1275 << 3 | 2, 2), 3: (0, 2), 4: (0, 2), 5: (0, 2), 0xFE: (0, 2), 0xFF: (0, 2),
          0x3E: (0, 2), 0x3F: (0, 2)}  # fmt: skip
INA226 = {
    0: (0x4127, 2),
    1: (24000, 2),
    2: (4080, 2),
    3: (0, 2),
    4: (0, 2),
    5: (0, 2),
    6: (8, 2),
    0xFE: (0x5449, 2),
    0xFF: (0x2260, 2),
}
INA260 = {0: (0x6127, 2), 1: (480, 2), 2: (4080, 2), 3: (306, 2), 6: (8, 2), 0xFE: (0x5449, 2), 0xFF: (0x2270, 2)}
INA3221 = {0: (0x7127, 2), 1: (1500 << 3, 2), 2: (637 << 3, 2), 3: (250 << 3, 2), 4: (412 << 3, 2), 5: (0, 2), 6: (0, 2), 0xF: (1, 2),
           0xFE: (0x5449, 2), 0xFF: (0x3220, 2)}  # fmt: skip
INA238 = {0: (0, 2), 1: (0xFB68, 2), 2: (0x1000, 2), 4: (12000, 2), 5: (1632, 2), 0xB: (3, 2), 0x3E: (0x5449, 2), 0x3F: (0x2381, 2),
          0xFE: (0, 2)}  # fmt: skip
INA228 = {0: (0, 2), 1: (0xFB68, 2), 2: (0x1000, 2), 4: (192000 << 4, 3), 5: (26112 << 4, 3), 9: (1000, 5), 0xB: (3, 2),
          0x3E: (0x5449, 2), 0x3F: (0x2281, 2), 0xFE: (0, 2)}  # fmt: skip
