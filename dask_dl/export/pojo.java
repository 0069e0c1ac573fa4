@PACKAGE@import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * @DESCRIPTION@, written by dask_dl. It needs nothing but Java 8, and may be used by several threads.
 *
 * <p>A row is a map of its columns: a number or null (or NaN) where COLUMNS are numbers, a text or null where they are
 * categories. Columns that are not there are missing.
 */
public final class @NAME@ {
  /** Columns that the model uses, categories first. */
  public static final String[] COLUMNS = Data.texts(Data.COLUMNS);

  /** Classes, in the order of their probabilities; none where a number is predicted. */
  public static final String[] CLASSES = Data.texts(Data.CLASSES);

  /** Names of the answers of an autoencoder: its inputs. */
  public static final String[] INPUTS = Data.texts(Data.INPUTS);

  private static final int N_LEVELS = @N_LEVELS@; // inputs of levels
  private static final int[] UNITS = Data.ints(Data.UNITS);
  private static final int CHANNELS = @CHANNELS@; // of hidden layers
  private static final String ACTIVATION = "@ACTIVATION@", OUTPUT = "@OUTPUT@", LINK = "@LINK@";
  private static final double[] KEPT = Data.doubles(Data.KEPT); // share of units that dropout keeps, of each hidden layer
  private static final double[] FILLS = Data.doubles(Data.FILLS);
  private static final double[] SHIFTS = Data.doubles(Data.SHIFTS), FACTORS = Data.doubles(Data.FACTORS);
  private static final double[] TARGET = Data.doubles(Data.TARGET); // shift and factor of a number
  private static final double[] CORRECTION = Data.doubles(Data.CORRECTION);
  private static final double THRESHOLD = @THRESHOLD@; // NaN: the most probable class
  private static final double[] AGAIN_SHIFTS = Data.doubles(Data.AGAIN_SHIFTS);
  private static final double[] AGAIN_SCALES = Data.doubles(Data.AGAIN_SCALES);
  private static final int[] EDGES = Data.ints(Data.EDGES); // of the inputs of each column of levels
  private static final int N_CATEGORIES = @N_CATEGORIES@, N_NUMBERS = @N_NUMBERS@, N_CODES = @N_CODES@;
  private static final Level[] LEVELS = levels(N_CATEGORIES, 0);
  private static final Level[] CODES = levels(N_CODES, N_CATEGORIES);
  private static final float[][] WEIGHTS = layers(0), BIASES = layers(1);

  private @NAME@() {}

  /** Probabilities of the classes, or a number in its unit, or the inputs as an autoencoder gives them back. */
  public static double[] score(Map<String, ?> row) {
    return score(row, 0.0);
  }

  /** The same with an offset, for a model that was trained with offsets. */
  public static double[] score(Map<String, ?> row, double offset) {
    double[] dense = new double[WIDTH];
    int[] active = new int[N_CATEGORIES];
    encode(row, active, dense);
    double[] here = null;
    for (int k = 0; k < UNITS.length; k++) {
      here = layer(k, here, active, dense);
    }
    if (LINK.equals("classes")) {
      return corrected(here);
    }
    if (LINK.equals("inputs")) {
      return again(here);
    }
    double sum = here[0] + @HAS_OFFSET@ * (offset - TARGET[0]) * TARGET[1];
    return new double[] {
      LINK.equals("log") ? Math.min(Math.exp(sum), 1e19) : sum / TARGET[1] + TARGET[0]
    };
  }

  /** The class of a row, of a classifier. */
  public static String predict(Map<String, ?> row) {
    double[] p = score(row);
    if (!Double.isNaN(THRESHOLD)) {
      return CLASSES[p[1] >= THRESHOLD ? 1 : 0];
    }
    int best = 0;
    for (int k = 1; k < p.length; k++) {
      best = p[k] > p[best] ? k : best;
    }
    return CLASSES[best];
  }

  private static final int WIDTH = FACTORS.length + width(CODES);

  private static int width(Level[] codes) {
    int n = 0;
    for (Level code : codes) {
      n += code.width;
    }
    return n;
  }

  private static void encode(Map<String, ?> row, int[] active, double[] dense) {
    for (int k = 0; k < N_CATEGORIES; k++) {
      active[k] = (int) LEVELS[k].of(row.get(COLUMNS[k]), 0);
    }
    for (int k = 0; k < N_NUMBERS; k++) {
      Object given = row.get(COLUMNS[N_CATEGORIES + k]);
      double x = given == null ? Double.NaN : ((Number) given).doubleValue();
      dense[k] = (float) (((Double.isNaN(x) ? FILLS[k] : x) - SHIFTS[k]) * FACTORS[k]);
    }
    int place = N_NUMBERS;
    for (int k = 0; k < N_CODES; k++) {
      Object given = row.get(COLUMNS[N_CATEGORIES + N_NUMBERS + k]);
      for (int j = 0; j < CODES[k].width; j++) {
        dense[place++] = CODES[k].of(given, j);
      }
    }
  }

  private static double[] layer(int k, double[] in, int[] active, double[] dense) {
    boolean last = k == UNITS.length - 1;
    int c = last ? 1 : CHANNELS;
    int n = k == 0 ? N_LEVELS + WIDTH : UNITS[k - 1];
    float[] w = WEIGHTS[k], b = BIASES[k];
    double[] out = new double[UNITS[k]];
    for (int j = 0; j < out.length; j++) {
      double best = Double.NEGATIVE_INFINITY;
      for (int h = 0; h < c; h++) {
        double sum = b[j * c + h];
        int row = j * n * c + h;
        if (k == 0) {
          for (int place : active) {
            sum += place < 0 ? 0.0 : w[row + place * c];
          }
          for (int i = 0; i < dense.length; i++) {
            sum += w[row + (N_LEVELS + i) * c] * dense[i];
          }
        } else {
          for (int i = 0; i < n; i++) {
            sum += w[row + i * c] * in[i];
          }
        }
        best = Math.max(best, sum);
      }
      out[j] = best;
    }
    String function = last ? OUTPUT : ACTIVATION;
    if (function.equals("softmax")) {
      return softmax(out);
    }
    for (int j = 0; j < out.length; j++) {
      double x = out[j];
      x = function.equals("tanh") ? Math.tanh(x) : function.equals("rectifier") ? Math.max(x, 0.0) : x;
      out[j] = last || KEPT.length == 0 ? x : x * KEPT[k];
    }
    return out;
  }

  private static double[] softmax(double[] x) {
    double top = Double.NEGATIVE_INFINITY, total = 0.0;
    for (double each : x) {
      top = Math.max(top, each);
    }
    for (int k = 0; k < x.length; k++) {
      total += x[k] = Math.exp(x[k] - top);
    }
    for (int k = 0; k < x.length; k++) {
      x[k] /= total;
    }
    return x;
  }

  private static double[] corrected(double[] p) {
    if (CORRECTION.length > 0) {
      double total = 0.0;
      for (int k = 0; k < p.length; k++) {
        total += p[k] *= CORRECTION[k];
      }
      for (int k = 0; k < p.length; k++) {
        p[k] /= total;
      }
    }
    return p;
  }

  private static double[] again(double[] x) {
    for (int e = 0; e + 1 < EDGES.length; e++) {
      double total = 0.0;
      int best = EDGES[e];
      for (int i = EDGES[e]; i < EDGES[e + 1]; i++) {
        total += Math.max(x[i], 0.0);
        best = x[i] > x[best] ? i : best;
      }
      for (int i = EDGES[e]; i < EDGES[e + 1]; i++) {
        x[i] = total > 0 ? Math.max(x[i], 0.0) / total : i == best ? 1.0 : 0.0;
      }
    }
    for (int i = 0; i < AGAIN_SCALES.length; i++) {
      x[N_LEVELS + i] = x[N_LEVELS + i] * AGAIN_SCALES[i] + AGAIN_SHIFTS[i];
    }
    return x;
  }

  /** Inputs of the levels of a column: the last two are those of a missing value and of a level never seen. */
  private static final class Level {
    final Map<String, Integer> places = new HashMap<>();
    final double[] inputs;
    final int width;

    Level(String[] names, double[] inputs, int width) {
      for (String name : names) {
        places.put(name, places.size());
      }
      this.inputs = inputs;
      this.width = width;
    }

    double of(Object value, int j) {
      int n = inputs.length / width;
      Integer known = value == null ? Integer.valueOf(n - 2) : places.get(value.toString());
      return inputs[(known == null ? n - 1 : known) * width + j];
    }
  }

  private static Level[] levels(int n, int first) {
    Level[] found = new Level[n];
    for (int k = 0; k < n; k++) {
      String[][] parts = Data.level(first + k);
      found[k] = new Level(Data.texts(parts[0]), Data.doubles(parts[1]), Data.ints(parts[2])[0]);
    }
    return found;
  }

  private static float[][] layers(int part) {
    float[][] found = new float[UNITS.length][];
    for (int k = 0; k < found.length; k++) {
      found[k] = Data.floats(Data.layer(k, part));
    }
    return found;
  }

  /** Arrays as texts, which a class file holds more of than of numbers. */
  private static final class Data {
    static ByteBuffer bytes(String[] parts) {
      int n = 0;
      byte[][] found = new byte[parts.length][];
      for (int k = 0; k < parts.length; k++) {
        found[k] = Base64.getDecoder().decode(parts[k]);
        n += found[k].length;
      }
      ByteBuffer all = ByteBuffer.allocate(n);
      for (byte[] part : found) {
        all.put(part);
      }
      all.flip();
      return all;
    }

    static float[] floats(String[] parts) {
      ByteBuffer data = bytes(parts);
      float[] found = new float[data.remaining() / 4];
      data.asFloatBuffer().get(found);
      return found;
    }

    static double[] doubles(String[] parts) {
      ByteBuffer data = bytes(parts);
      double[] found = new double[data.remaining() / 8];
      data.asDoubleBuffer().get(found);
      return found;
    }

    static int[] ints(String[] parts) {
      ByteBuffer data = bytes(parts);
      int[] found = new int[data.remaining() / 4];
      data.asIntBuffer().get(found);
      return found;
    }

    static String[] texts(String[] parts) {
      ByteBuffer data = bytes(parts);
      String[] found = new String[data.remaining() == 0 ? 0 : data.getInt()];
      for (int k = 0; k < found.length; k++) {
        byte[] text = new byte[data.getInt()];
        data.get(text);
        found[k] = new String(text, StandardCharsets.UTF_8);
      }
      return found;
    }

    static String[] joined(String[]... chunks) {
      List<String> all = new ArrayList<>();
      for (String[] chunk : chunks) {
        all.addAll(Arrays.asList(chunk));
      }
      return all.toArray(new String[0]);
    }

    static String[] layer(int k, int part) {
      switch (2 * k + part) {
@LAYERS@        default:
          throw new IllegalArgumentException();
      }
    }

    static String[][] level(int k) {
      switch (k) {
@LEVELS@        default:
          throw new IllegalArgumentException();
      }
    }

@ARRAYS@  }

@CHUNKS@}
